import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findDebianKernel } from './debian-kernel.js';
import { buildDebianInitrd, missingInitramfsTools } from './testing/debian-initrd.js';
import { type BootedGuest, EncryptedDisk, missingPackage } from './testing/encrypted-disk.js';

const root = resolve(import.meta.dirname, '../../..');
const greeting = 'The root file system is the encrypted one.';
/** Of the file system. */
const blockSize = 4096;

const missing = missingPackage() ?? missingInitramfsTools();
if (missing !== undefined) it.skipIf(true)(`${missing} is not here (tools/test sets it up)`, () => undefined);

/** Where on the volume its content begins, in bytes. */
function contentOffset(volume: string): number {
  const dumped = execFileSync('cryptsetup', ['luksDump', '--dump-json-metadata', volume], {
    encoding: 'utf8',
  });
  const { segments } = JSON.parse(dumped) as { segments: Record<string, { offset: string }> };
  return Number(segments['0']?.offset);
}

/** The hook and the script for Debian's initramfs-tools, in an initrd with what they meet there. */
describe.runIf(missing === undefined)('a Debian guest whose root is encrypted, under QEMU', () => {
  const kernel = findDebianKernel();
  if ('missing' in kernel) return;
  const disk = new EncryptedDisk(kernel.kernel);
  let guest: BootedGuest;
  let twin: BootedGuest;
  let damaged: BootedGuest;

  beforeAll(async () => {
    for (const folder of ['sbin', 'bin', 'dev', 'proc', 'sys', 'run'])
      mkdirSync(disk.at(`content/${folder}`), { recursive: true });
    writeFileSync(disk.at('content/greeting'), greeting);
    writeFileSync(disk.at('content/bin/busybox'), readFileSync(kernel.busybox), { mode: 0o755 });
    const init = '#!/bin/busybox sh\n/bin/busybox cat /greeting\n/bin/busybox poweroff -f\n';
    writeFileSync(disk.at('content/sbin/init'), init, { mode: 0o755 });
    await disk.prepare(disk.at('content'), '16M');

    writeFileSync(disk.at('initrd'), await buildDebianInitrd(root, kernel));
    const commandLine = [
      ...['console=ttyS0', 'quiet', 'root=/dev/mapper/root', 'rootfstype=ext4', 'ro'],
      ...['ip=dhcp', disk.parameters],
    ].join(' ');
    await disk.admit(disk.at('initrd'), commandLine);
    guest = await disk.boot('guest', disk.at('initrd'), commandLine);

    const changed = readFileSync(disk.at('initrd'));
    // In a comment of the script: it does the same.
    const place = changed.indexOf('opens the root disk before it is looked for');
    changed[place] = changed[place]! ^ 0x20;
    writeFileSync(disk.at('changed'), changed);
    twin = await disk.boot('twin', disk.at('changed'), commandLine);

    // The group descriptors of the file system, which come behind the block of the superblock.
    const image = readFileSync(disk.at('disk.img'));
    const content = contentOffset(disk.at('disk.img'));
    image.fill(0, content + blockSize, content + 2 * blockSize);
    writeFileSync(disk.at('damaged.img'), image);
    const more = { disk: disk.at('damaged.img'), lastWords: 'System halted' };
    damaged = await disk.boot('damaged', disk.at('initrd'), commandLine, more);
  });
  afterAll(() => disk.end());

  it('attests, gets its key, and runs from it', async () => {
    expect(await guest.output).toContain(greeting);
  });

  it('with one byte of its initrd changed gets no key, and switches itself off', async () => {
    const output = await twin.output;
    expect(output).toContain('the key broker does not release default/disk/root');
    expect(output).toContain('vouchsafe: the root disk stays locked');
    expect(output).not.toContain(greeting);
  });

  it('gives no shell where the host has damaged the disk and the root cannot be mounted', async () => {
    const output = await damaged.output;
    expect(output).toContain('Unlocked /dev/vda as /dev/mapper/root.');
    expect(output).toContain('Halting automatically due to panic= boot argument');
    expect(output).not.toContain('(initramfs)');
    expect(output).not.toContain(greeting);
  });
});
