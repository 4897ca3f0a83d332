import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { UnavailableError } from '@vouchsafe/sev';
import { describe, expect, onTestFinished, test } from 'vitest';
import { scriptedDevice } from '../testing/scripted-device.js';
import { FirmwareCommandError } from './firmware-error.js';
import { linuxPlatform } from './linux.js';
import { openIoctlDevice } from './linux-device.js';

const caught = async (work: Promise<unknown>): Promise<unknown> => work.catch((error: unknown) => error);

function temporaryFile(mode: number): string {
  const folder = mkdtempSync(join(tmpdir(), 'vouchsafe-device-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, 'sev');
  writeFileSync(file, '');
  chmodSync(file, mode);
  return file;
}

const failingWith = (code: string) => async () => {
  throw Object.assign(new Error(code), { code });
};

describe('a device that is not there or not ours', () => {
  test.each([
    ['ENOENT', /no such device/, /EPYC.*BIOS.*modprobe ccp kvm_amd.*software processor/],
    ['ENODEV', /no secure processor/, /BIOS/],
    ['EACCES', /may not open/, /root.*udev/],
    ['EPERM', /may not open/, /container/],
    ['EMFILE', /EMFILE/, /dmesg/],
  ])('%s on open', async (code, message, hint) => {
    const error = await caught(linuxPlatform('/dev/sev', { open: failingWith(code) }).status());
    expect(error).toBeInstanceOf(UnavailableError);
    expect((error as UnavailableError).message).toMatch(message);
    expect((error as UnavailableError).message).toMatch(/^\/dev\/sev: /);
    expect((error as UnavailableError).hint).toMatch(hint);
  });

  test('the real call: a missing path, a plain file, and /dev/null', async () => {
    const missing = await caught(linuxPlatform('/dev/no-such-sev').status());
    expect((missing as UnavailableError).message).toMatch(/no such device/);
    for (const path of [temporaryFile(0o600), '/dev/null']) {
      const error = await caught(linuxPlatform(path).status());
      expect((error as UnavailableError).message).toBe(
        `${path}: PLATFORM_STATUS is not known to this device`,
      );
    }
  });

  test('the real call tells of a file that is not ours', async () => {
    // Root may open everything; then the file is read and is no device.
    const error = await caught(linuxPlatform(temporaryFile(0o000)).status());
    expect((error as UnavailableError).message).toMatch(
      process.getuid?.() === 0 ? /not known to this device/ : /may not open/,
    );
  });

  test('on this machine, without one or with one', async () => {
    const status = linuxPlatform().status();
    if (existsSync('/dev/sev'))
      await status.catch((error: unknown) => expect(error).toBeInstanceOf(UnavailableError));
    else await expect(status).rejects.toThrow('/dev/sev: there is no such device');
  });

  test('native memory is what the kernel is told', async () => {
    const device = await openIoctlDevice(temporaryFile(0o600));
    const buffer = device.place(Uint8Array.of(1, 2, 3));
    expect(buffer.address).toBeGreaterThan(0n);
    expect(buffer.bytes).toEqual(Uint8Array.of(1, 2, 3));
    // FIONREAD writes how much can be read, an int, where its argument points.
    const count = device.place(new Uint8Array(4).fill(0xff));
    expect(await device.ioctl(0x541bn, count.address)).toBe(0);
    expect(count.bytes).toEqual(new Uint8Array(4));
    expect(await device.ioctl(0x541bn, 1n)).toBe('EFAULT');
    for (const each of [buffer, count]) each.free();
    await device.close();
  });
});

describe('what the kernel answers', () => {
  test.each([
    ['EPERM', /needs the device open for writing/],
    ['ENOTTY', /not known to this device/],
    ['EINVAL', /not known to this kernel/],
    ['ENODEV', /found no secure processor/],
    ['ETIMEDOUT', /got no answer/],
    ['EIO', /before the firmware was called/],
    ['ENOSPC', /failed with ENOSPC/],
  ])('%s without a call to the firmware', async (errno, message) => {
    for (const status of [0, 0xffff_ffff]) {
      const { open, state } = scriptedDevice(errno, status);
      const error = await caught(linuxPlatform('/dev/sev', { open }).rotate());
      expect(error).toBeInstanceOf(UnavailableError);
      expect((error as UnavailableError).message).toMatch(message);
      expect((error as UnavailableError).message).toMatch(/PDH_GEN/);
      expect([state.open, state.memory.inUse]).toEqual([0, 0]);
    }
  });

  test('a status of the firmware is its own error, with the specification’s name of the command', async () => {
    const { open } = scriptedDevice('EIO', 0x05);
    const error = await caught(linuxPlatform('/dev/sev', { open }).reset());
    expect(error).toBeInstanceOf(FirmwareCommandError);
    expect(error).toMatchObject({
      code: 'firmware-status',
      command: 'PLATFORM_RESET',
      status: 5,
      statusName: 'ALREADY_OWNED',
      hint: expect.stringMatching(/self-owned/),
    });
  });

  test('a status that nobody knows is shown as a number', async () => {
    const { open } = scriptedDevice('EIO', 0x1e);
    const error = await caught(linuxPlatform('/dev/sev', { open }).export());
    expect(error).toMatchObject({
      status: 0x1e,
      statusName: undefined,
      message: expect.stringMatching(/0x1e/),
    });
  });

  test('a reset under running guests', async () => {
    const { open } = scriptedDevice('EBUSY', 0xffff_ffff);
    await expect(linuxPlatform('/dev/sev', { open }).reset()).rejects.toThrow(/holds guests/);
  });

  test('the status of a real Milan, as the kernel would copy it out', async () => {
    const { open, state } = scriptedDevice(0, 0, (data, memory) =>
      memory.at(data, 12).set([1, 49, 2, 1, 1, 0, 0, 6, 3, 0, 0, 0]),
    );
    expect(await linuxPlatform('/dev/sev', { open }).status()).toEqual({
      apiMajor: 1,
      apiMinor: 49,
      build: 6,
      state: 'WORKING',
      externallyOwned: true,
      encryptedState: true,
      guestCount: 3,
    });
    expect(state.requests).toEqual([0xc0105300n]);
    expect([state.open, state.memory.inUse]).toEqual([0, 0]);
  });

  test('nothing stays open or in memory when a command fails', async () => {
    const { open, state } = scriptedDevice('EIO', 0x0a);
    const platform = linuxPlatform('/dev/sev', { open });
    const certificate = new Uint8Array(0x824);
    await caught(platform.provision({ pek: certificate, oca: certificate }));
    expect(state.commands).toEqual(['PEK_CERT_IMPORT']);
    expect([state.open, state.memory.inUse]).toEqual([0, 0]);
  });
});
