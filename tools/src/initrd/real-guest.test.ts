import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run } from '../../../packages/cli/src/testing/run.js';
import { buildInitrd } from './build-initrd.js';
import { findDebianKernel } from './debian-kernel.js';
import { type BootedGuest, EncryptedDisk, missingPackage } from './testing/encrypted-disk.js';

const root = resolve(import.meta.dirname, '../../..');
const greeting = 'This line lies encrypted on the disk.';

const missing = missingPackage();
if (missing !== undefined) it.skipIf(true)(`${missing} is not here (tools/test sets it up)`, () => undefined);

describe.runIf(missing === undefined)('a real guest under QEMU', () => {
  const kernel = findDebianKernel();
  if ('missing' in kernel) return;
  const disk = new EncryptedDisk(kernel.kernel);
  let measurement: string;
  let guest: BootedGuest;
  let twin: BootedGuest;

  beforeAll(async () => {
    writeFileSync(disk.at('initrd'), await buildInitrd({ root, ...kernel }));
    mkdirSync(disk.at('content'));
    writeFileSync(disk.at('content/greeting'), greeting);
    await disk.prepare(disk.at('content'), '4M');
    const commandLine = `console=ttyS0 panic=-1 quiet vouchsafe.address=10.0.2.15/24 ${disk.parameters}`;
    measurement = await disk.admit(disk.at('initrd'), commandLine);

    // Both at once: there are two processors in most machines that test.
    guest = await disk.boot('guest', disk.at('initrd'), commandLine);
    const changed = readFileSync(disk.at('initrd'));
    // In a comment of /init: the machine boots as before, and does the same.
    const place = changed.indexOf('The whole user space');
    changed[place] = changed[place]! ^ 0x20;
    writeFileSync(disk.at('changed'), changed);
    twin = await disk.boot('twin', disk.at('changed'), commandLine);
  });
  afterAll(() => disk.end());

  it('attests, gets its key, opens its disk through dm-crypt, and reads what is on it', async () => {
    const output = await guest.output;
    expect(guest.measurement).toBe(measurement);
    expect(output).toContain('Unlocked /dev/vda as /dev/mapper/root.');
    expect(output).toContain(`vouchsafe: from inside the disk: ${greeting}`);
    const { stdout } = await run(['broker', 'audit', 'tail', ...disk.administration]);
    expect(stdout).toContain('release');
  });

  it('with one byte of its initrd changed gets no key', async () => {
    const output = await twin.output;
    expect(twin.measurement).not.toBe(measurement);
    expect(output).toContain('the key broker does not release default/disk/root');
    expect(output).toContain('vouchsafe: the disk stays locked');
    expect(output).not.toContain(greeting);
  });
});
