import { isZero, openSecret, sevGuestIoctls } from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import { type GuestChannel, openGuestChannel } from '../snp/guest-channel.js';
import { ScriptedDriver, type ScriptedDriverOptions } from '../testing/scripted-driver.js';
import { hostOf, type Relay, ScriptedFirmware } from '../testing/scripted-firmware.js';
import { openGuestIoctlDevice } from './ioctl-device.js';
import { sevGuestDevice } from './sev-guest-device.js';

const reportData = new Uint8Array(64).fill(9);
const keyRequest = { root: 'VEK', fields: { policy: true } } as const;

function open(options?: ScriptedDriverOptions, relay?: Relay) {
  const firmware = new ScriptedFirmware();
  const channel: GuestChannel = openGuestChannel({
    transport: hostOf(firmware, relay),
    key: firmware.key(0),
    vmpck: 0,
  });
  const driver = new ScriptedDriver(channel, options);
  const opened: string[] = [];
  const device = sevGuestDevice({
    async open(path) {
      opened.push(path);
      return driver;
    },
  });
  return { device, driver, opened };
}

describe('the sev-guest driver', () => {
  it('is opened once, at the first call, and closed', async () => {
    const { device, driver, opened } = open();
    expect(opened).toEqual([]);
    await device.report({ reportData });
    await device.report({ reportData });
    expect(opened).toEqual(['/dev/sev-guest']);
    await device.close();
    expect(driver.isClosed).toBe(true);
  });

  it('gets its memory back, with nothing of a key in it', async () => {
    const { device, driver } = open();
    await device.report({ reportData });
    const key = await device.deriveKey(keyRequest);
    expect(openSecret(key).length).toBe(32);
    expect(driver.requests).toEqual([sevGuestIoctls.SNP_GET_EXT_REPORT, sevGuestIoctls.SNP_GET_DERIVED_KEY]);
    expect(driver.placed).toBe(0);
    expect(driver.freed.every(isZero)).toBe(true);
  });

  it('is asked again without certificates when the host has too many', async () => {
    const { device, driver } = open({ tableLength: 0x5000 });
    const evidence = await device.report({ reportData });
    expect(Object.keys(evidence)).toEqual(['report']);
    expect(driver.requests).toEqual([sevGuestIoctls.SNP_GET_EXT_REPORT, sevGuestIoctls.SNP_GET_REPORT]);
  });

  it('cannot pass on mitigations', async () => {
    const { device, driver } = open();
    const request = { ...keyRequest, fields: { launchMitigationVector: true } };
    await expect(device.deriveKey(request)).rejects.toThrow('version 1 of key requests');
    expect(driver.requests).toEqual([]);
  });

  it.each<[string, NonNullable<ScriptedDriverOptions['fails']>, string, string | undefined]>([
    ['whose key is gone', { errno: 'ENOTTY' }, 'the driver answered ENOTTY', 'wiped its key'],
    ['whose host is busy', { errno: 'ETIMEDOUT' }, 'the driver answered ETIMEDOUT', 'throttles'],
    [
      'whose firmware failed',
      { errno: 'EIO', firmwareError: 0x16 },
      'the driver answered EIO, the firmware INVALID_PARAM (0x16)',
      undefined,
    ],
    ['whose host failed', { errno: 'EIO', vmmError: 3 }, 'the host answered error 3 (EIO)', undefined],
    ['that does not know the request', { errno: 'EINVAL' }, 'the driver answered EINVAL', 'older than 5.19'],
  ])('%s is told apart', async (_what, fails, message, hint) => {
    const { device, driver } = open({ fails });
    for (const call of [() => device.report({ reportData }), () => device.deriveKey(keyRequest)]) {
      await expect(call()).rejects.toMatchObject({
        code: 'unavailable',
        message: expect.stringContaining(message),
        ...(hint === undefined ? {} : { hint: expect.stringContaining(hint) }),
      });
    }
    expect(driver.placed).toBe(0);
  });

  it('that wiped its key after an altered response says so from then on', async () => {
    const { device } = open({}, async (request, certificates, next) => {
      const outcome = await next(request, certificates);
      outcome.response[0x60]! ^= 1;
      return outcome;
    });
    await expect(device.report({ reportData })).rejects.toThrow('EIO');
    await expect(device.report({ reportData })).rejects.toThrow('ENOTTY');
  });

  it.each([
    ['ENOENT', 'load the module sev-guest'],
    ['EACCES', 'only root'],
  ])('that cannot be opened (%s) says why, and is tried again', async (code, hint) => {
    let tries = 0;
    const device = sevGuestDevice({
      async open() {
        tries += 1;
        throw Object.assign(new Error(code), { code });
      },
    });
    for (let i = 0; i < 2; i++) {
      await expect(device.report({ reportData })).rejects.toMatchObject({
        code: 'unavailable',
        hint: expect.stringContaining(hint),
      });
    }
    expect(tries).toBe(2);
    await device.close();
  });
});

/** What of ioctl can be had without the hardware: a device that has no such request. */
describe('ioctl', () => {
  it('reaches the kernel, which does not know the request for /dev/null', async () => {
    const device = await openGuestIoctlDevice('/dev/null');
    const placed = device.place(Uint8Array.of(1, 2, 3, 4));
    expect([...placed.bytes]).toEqual([1, 2, 3, 4]);
    expect(await device.ioctl(sevGuestIoctls.SNP_GET_REPORT, placed.address)).toBe('ENOTTY');
    placed.free();
    await device.close();
  });

  it('of a device that is none fails as the system says', async () => {
    await expect(openGuestIoctlDevice('/dev/none')).rejects.toMatchObject({ code: 'ENOENT' });
  });
});
