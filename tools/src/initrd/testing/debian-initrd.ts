import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { buildCpio, type CpioEntry } from '../cpio.js';
import { type DebianKernel, testCache } from '../debian-kernel.js';
import { bundleGuestPart } from '../guest-part.js';
import { modulesInOrder } from '../kernel-modules.js';

/** Debian's packages that make and run an initrd, unpacked by `tools/test`. */
const packages = {
  'initramfs-tools-core': 'guest-initramfs-tools',
  'klibc-utils': 'guest-klibc-utils',
  libklibc: 'guest-libklibc',
} as const;

/** The first of them that is not here. */
export function missingInitramfsTools(cache = testCache()): string | undefined {
  return Object.entries(packages).find(([, folder]) => !existsSync(join(cache, folder)))?.[0];
}

/** What udev does between the script's modules and its use of them: ports get the names that the host gave them. */
const settle = `#!/bin/sh
mkdir -p /dev/virtio-ports
for port in /sys/class/virtio-ports/*; do
  [ -e "$port/name" ] && ln -sf "../\${port##*/}" "/dev/virtio-ports/$(cat "$port/name")"
done
exit 0
`;

const moveDevices = `#!/bin/sh
[ "$1" = prereqs ] || mount -n -o move /dev "\${rootmnt}/dev"
`;

/**
 * An initrd as Debian's update-initramfs makes it: `init` and scripts of initramfs-tools, busybox, the programs of klibc,
 * and what this project's hook and script add. The hook runs with Debian's own functions, but for the one that looks for
 * kernel modules, which wants an installed kernel. In place of udev stand a list of drivers and a stand-in for udevadm.
 */
export async function buildDebianInitrd(root: string, kernel: DebianKernel): Promise<Uint8Array> {
  const work = mkdtempSync(join(tmpdir(), 'vouchsafe-debian-initrd-'));
  try {
    const tree = join(work, 'tree');
    const inTree = (path: string) => {
      const place = join(tree, path);
      mkdirSync(dirname(place), { recursive: true });
      return place;
    };
    const write = (path: string, text: string, mode = 0o644) => writeFileSync(inTree(path), text, { mode });
    const copy = (from: string, path: string) => copyFileSync(from, inTree(path));
    const [tools, klibc, klibcLibrary] = Object.values(packages).map((each) => join(testCache(), each));
    const own = join(root, 'packages/guest/initramfs/debian');

    for (const folder of ['bin', 'sbin', 'lib', 'lib64']) {
      mkdirSync(join(tree, 'usr', folder), { recursive: true });
      symlinkSync(`usr/${folder}`, join(tree, folder));
    }
    const share = join(tools!, 'usr/share/initramfs-tools');
    copy(join(share, 'init'), 'init');
    for (const name of ['functions', 'local', 'nfs']) copy(join(share, 'scripts', name), `scripts/${name}`);
    copy(join(tools!, 'etc/initramfs-tools/initramfs.conf'), 'conf/initramfs.conf');
    write('conf/arch.conf', 'DPKG_ARCH=amd64\n');
    // Without udev, libdevmapper makes its nodes itself.
    write('conf/conf.d/no-udev', 'export DM_DISABLE_UDEV=1\n');
    write('usr/bin/udevadm', settle, 0o755);
    write('run/.keep', '');

    copy(kernel.busybox, 'usr/bin/busybox');
    for (const name of ['run-init', 'ipconfig', 'fstype'])
      copy(join(klibc!, 'usr/lib/klibc/bin', name), `usr/bin/${name}`);
    for (const name of readdirSync(join(klibcLibrary!, 'lib')))
      copy(join(klibcLibrary!, 'lib', name), `usr/lib/${name}`);
    const applets = execFileSync(kernel.busybox, ['--list'], { encoding: 'utf8' }).trim().split('\n');
    for (const name of applets.filter((each) => !existsSync(join(tree, 'usr/bin', each))))
      symlinkSync('busybox', join(tree, 'usr/bin', name));
    symlinkSync('../bin/busybox', join(tree, 'usr/sbin/modprobe'));

    writeFileSync(join(work, 'vouchsafe.mjs'), await bundleGuestPart(root));
    const wanted = runHook(own, { work, tree, share });
    addModules(tree, kernel, wanted);
    copy(join(own, 'local-top'), 'scripts/local-top/vouchsafe');
    write('scripts/init-bottom/udev', moveDevices, 0o755);
    for (const path of ['init', 'scripts/local-top/vouchsafe']) chmodSync(join(tree, path), 0o755);
    // In the order of their `prereqs`, as update-initramfs finds it.
    for (const stage of ['local-top', 'init-bottom']) {
      const order = `. ${share}/hook-functions; verbose=n CONFDIR=$1 cache_run_scripts "$1" /scripts/${stage}`;
      execFileSync('/bin/sh', ['-c', order, 'sh', tree]);
    }
    return buildCpio([...entriesBelow(tree)]);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Gives the kernel modules that the hook asks for. */
function runHook(
  own: string,
  { work, tree, share }: { readonly work: string; readonly tree: string; readonly share: string },
): string[] {
  const functions = join(work, 'hook-functions');
  const wanted = join(work, 'wanted-modules');
  const instead = `manual_add_modules() { printf '%s\\n' "$@" >>${wanted}; }`;
  writeFileSync(functions, `. ${share}/hook-functions\n${instead}\n`);
  const hook = readFileSync(join(own, 'hook'), 'utf8')
    .replace('/usr/share/initramfs-tools/hook-functions', functions)
    .replace('/usr/lib/vouchsafe/vouchsafe.mjs', join(work, 'vouchsafe.mjs'));
  const path = `${dirname(process.execPath)}:/usr/sbin:/usr/bin:/sbin:/bin`;
  const env = { PATH: path, DESTDIR: tree, verbose: 'n' };
  execFileSync('/bin/sh', ['-c', hook, 'vouchsafe'], { env, stdio: ['ignore', 'ignore', 'inherit'] });
  return readFileSync(wanted, 'utf8').trim().split('\n');
}

/** What the hook wants is there to be loaded; what every Debian initrd has and udev loads is loaded. */
function addModules(tree: string, kernel: DebianKernel, wanted: readonly string[]): void {
  const loadedByUdev = ['virtio_pci', 'virtio_blk', 'virtio_net'];
  const folder = join(tree, 'usr/lib/modules', basename(kernel.modules));
  mkdirSync(folder, { recursive: true });
  for (const { name, bytes } of modulesInOrder(kernel.modules, [...loadedByUdev, ...wanted]))
    writeFileSync(join(folder, `${name}.ko`), bytes);
  execFileSync(kernel.busybox, ['depmod', '-b', join(tree, 'usr'), basename(folder)]);
  writeFileSync(join(tree, 'conf/modules'), `${loadedByUdev.join('\n')}\n`);
}

function* entriesBelow(tree: string, path = ''): Generator<CpioEntry> {
  for (const name of readdirSync(join(tree, path))) {
    const below = join(path, name);
    const whole = join(tree, below);
    const found = lstatSync(whole);
    if (found.isSymbolicLink()) yield { path: below, target: readlinkSync(whole) };
    else if (found.isDirectory()) yield* entriesBelow(tree, below);
    else {
      const executable = (found.mode & 0o100) !== 0;
      yield { path: below, bytes: new Uint8Array(readFileSync(whole)), executable };
    }
  }
}
