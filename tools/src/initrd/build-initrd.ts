import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildCpio, type CpioEntry } from './cpio.js';
import { bundleGuestPart } from './guest-part.js';
import { modulesInOrder } from './kernel-modules.js';
import { programWithLibraries } from './programs.js';

export interface InitrdOptions {
  /** Folder of the repository. */
  readonly root: string;
  /** `lib/modules/VERSION` of the kernel that boots it. */
  readonly modules: string;
  /** A statically linked busybox. */
  readonly busybox: string;
  /** Node; the one that runs this. */
  readonly node?: string;
  /** cryptsetup; the one of this machine. */
  readonly cryptsetup?: string;
}

/** What a virtual machine of QEMU and an encrypted disk need. */
const modules = [
  'virtio_pci',
  'virtio_blk',
  'virtio_console',
  'virtio_net',
  'dm_crypt',
  'xts',
  'aesni_intel',
];

/**
 * An initrd that is a whole small system: `/init` of this project, busybox, Node with the guest part of `vouchsafe`,
 * cryptsetup, and the kernel modules of disk, network and attestation device. It is not compressed: unpacking costs a
 * machine without KVM more than reading.
 */
export async function buildInitrd(options: InitrdOptions): Promise<Uint8Array> {
  const { root, busybox, node = process.execPath, cryptsetup = findCryptsetup() } = options;
  const order = modulesInOrder(options.modules, modules);
  const entries: CpioEntry[] = [
    { path: 'init', bytes: read(join(root, 'tools/initrd/init')), executable: true },
    { path: 'bin/busybox', bytes: read(busybox), executable: true },
    { path: 'lib/vouchsafe/vouchsafe.mjs', bytes: await bundleGuestPart(root) },
    { path: 'lib/modules/order', bytes: utf8(order.map(({ name }) => `${name}.ko\n`).join('')) },
    ...order.map(({ name, bytes }) => ({ path: `lib/modules/${name}.ko`, bytes })),
    ...programWithLibraries(node, 'bin/node'),
    ...programWithLibraries(cryptsetup, 'bin/cryptsetup'),
    ...['dev', 'proc', 'sys', 'run', 'mnt'].map((path) => ({ path: `${path}/.keep`, bytes: utf8('') })),
  ];
  return buildCpio(entries);
}

function findCryptsetup(): string {
  const found = ['/usr/sbin/cryptsetup', '/sbin/cryptsetup', '/usr/bin/cryptsetup'].find((path) =>
    existsSync(path),
  );
  if (found === undefined) throw new Error('cryptsetup is not installed (package cryptsetup-bin)');
  return found;
}

const read = (path: string) => new Uint8Array(readFileSync(path));
const utf8 = (text: string) => new TextEncoder().encode(text);
