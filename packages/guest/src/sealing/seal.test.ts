import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  InvalidArgumentError,
  MalformedError,
  openSecret,
  type RandomSource,
  Secret,
  systemRandom,
  toHex,
} from '@vouchsafe/sev';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type AttestationDevice, RequestRefusedError } from '../attestation/attestation-device.js';
import { configfsTsmDevice } from '../attestation/configfs-tsm.js';
import { hasCryptsetup } from '../disk/cryptsetup.js';
import { WrongDiskKeyError } from '../disk/luks.js';
import { channelAttestationDevice } from '../snp/channel-device.js';
import { openGuestChannel } from '../snp/guest-channel.js';
import { hostOf, ScriptedFirmware, type ScriptedGuest } from '../testing/scripted-firmware.js';
import { temporaryFolder } from '../testing/temporary.js';
import { TsmModel } from '../testing/tsm-model.js';
import { completeKeyRequest, seal, unseal, WrongSealingKeyError } from './seal.js';
import { describeKeyRequest, isSealedFile, parseSealedFile } from './sealed-format.js';
import { formatSealedVolume, unlockSealedVolume } from './sealed-volume.js';

const content = new TextEncoder().encode('what only this guest may know');
const request = { root: 'VEK', fields: { measurement: true, guestSvn: true, tcbVersion: true } } as const;
const random: RandomSource = (length) => new Uint8Array(length).fill(length);

/** A guest of its own: the launch it was, on the chip it is on, at the level it runs at. */
function deviceOf(guest?: ScriptedGuest, vmpck = 0): AttestationDevice {
  const firmware = new ScriptedFirmware(guest);
  return channelAttestationDevice(
    openGuestChannel({ transport: hostOf(firmware), key: firmware.key(vmpck), vmpck }),
  );
}

async function opened(device: AttestationDevice, sealed: Uint8Array): Promise<Uint8Array> {
  const secret = await unseal(device, sealed);
  return openSecret(secret);
}

const sealed = () => seal({ device: deviceOf(), request, content, random });

describe('a sealed file', () => {
  it('opens in the guest that it is sealed to, started again', async () => {
    const file = await sealed();
    expect(isSealedFile(file)).toBe(true);
    expect(file.length).toBe(0x60 + content.length);
    expect(await opened(deviceOf(), file)).toEqual(content);
  });

  it('says what it is bound to, and holds neither key nor content', async () => {
    const file = await sealed();
    expect(parseSealedFile(file).request).toMatchObject({
      root: 'VEK',
      keySelection: 'VLEK-or-VCEK',
      fields: { measurement: true, guestSvn: true, tcbVersion: true, policy: false },
      vmpl: 0,
      guestSvn: 3,
      tcbVersion: 0xd918_0000_0000_0004n,
      launchMitigationVector: 0n,
    });
    // What the guest derives, under this very request, is not in the file, and neither is the content.
    const derived = await deviceOf().deriveKey(parseSealedFile(file).request);
    expect(toHex(file)).not.toContain(toHex(openSecret(derived)));
    expect(toHex(file)).not.toContain(toHex(content.subarray(0, 8)));
    expect(describeKeyRequest(parseSealedFile(file).request)).toEqual([
      'the chip, or the operator’s key (VLEK) where one is loaded',
      'privilege level 0 or a higher one',
      'the host data and the ID key of the launch',
      'the launch digest',
      'a guest security version of at least 3',
      'a committed TCB version of at least 0xd918000000000004',
    ]);
  });

  it.each<[string, ScriptedGuest]>([
    ['on another chip', { chip: 2 }],
    ['in a guest with another launch digest', { measurement: new Uint8Array(48) }],
  ])('does not open %s: the guest has another key', async (_where, guest) => {
    const refusal = opened(deviceOf(guest), await sealed());
    await expect(refusal).rejects.toThrow(WrongSealingKeyError);
    await expect(refusal).rejects.toMatchObject({ hint: expect.stringContaining('the launch digest') });
  });

  it.each<[string, ScriptedGuest, number]>([
    ['in a guest of a lower security version', { guestSvn: 2 }, 0],
    ['at a lower privilege level', {}, 1],
  ])('does not open %s: the firmware gives no such key', async (_where, guest, vmpck) => {
    const refusal = opened(deviceOf(guest, vmpck), await sealed());
    await expect(refusal).rejects.toThrow(RequestRefusedError);
    await expect(refusal).rejects.toMatchObject({ status: 0x16 });
  });

  it('opens in a guest of a higher security version, which can name the lower one', async () => {
    expect(await opened(deviceOf({ guestSvn: 9 }), await sealed())).toEqual(content);
  });

  it('is bound to nothing that its owner did not choose', async () => {
    const file = await seal({ device: deviceOf(), request: { root: 'VEK', fields: {} }, content, random });
    expect(await opened(deviceOf({ measurement: new Uint8Array(48) }), file)).toEqual(content);
    const wandering = { root: 'VMRK', fields: { measurement: true } } as const;
    const moved = await seal({ device: deviceOf(), request: wandering, content, random });
    expect(await opened(deviceOf({ chip: 2 }), moved)).toEqual(content);
  });

  it('an older one, put back by the host, still opens: sealing does not tell old from new', async () => {
    const old = await sealed();
    await seal({ device: deviceOf(), request, content: Uint8Array.of(1), random: systemRandom });
    expect(await opened(deviceOf(), old)).toEqual(content);
  });

  it('is another every time', async () => {
    const make = () => seal({ device: deviceOf(), request, content, random: systemRandom });
    const [a, b] = [await make(), await make()];
    expect(toHex(a.subarray(0x30))).not.toBe(toHex(b.subarray(0x30)));
    expect(await opened(deviceOf(), b)).toEqual(content);
  });

  it.each([
    ['the salt', 0x30],
    ['the nonce', 0x40],
    ['the tag', 0x50],
    ['the last byte of the tag', 0x5f],
    ['the content', 0x60],
  ])('with a changed bit in %s does not open', async (_what, at) => {
    const file = await sealed();
    file[at]! ^= 1;
    await expect(opened(deviceOf(), file)).rejects.toThrow(WrongSealingKeyError);
  });

  it('with other fields in its head needs another key', async () => {
    const file = await sealed();
    file[0x18] = 2;
    await expect(opened(deviceOf(), file)).rejects.toThrow(WrongSealingKeyError);
    file[0x18] = 4;
    await expect(opened(deviceOf(), file)).rejects.toThrow(RequestRefusedError);
  });

  it.each<[string, number, number, string]>([
    ['another magic', 0, 0, 'magic'],
    ['a key that does not exist', 0x08, 0b110, 'root'],
    ['a privilege level that does not exist', 0x0c, 4, 'vmpl'],
    ['a field that does not exist', 0x10, 0x80, 'reserved bits'],
    ['reserved bytes', 0x4c, 1, 'reserved4c'],
  ])('with %s is none', async (_what, at, value, field) => {
    const file = await sealed();
    file[at] = value;
    await expect(opened(deviceOf(), file)).rejects.toThrow(MalformedError);
    await expect(opened(deviceOf(), file)).rejects.toMatchObject({ field });
  });

  it('of any bytes is refused with a typed error', () => {
    const magic = new TextEncoder().encode('VCHSEAL1');
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 120 }), fc.boolean(), (bytes, named) => {
        if (named) bytes.set(magic.subarray(0, bytes.length));
        try {
          parseSealedFile(bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(MalformedError);
        }
      }),
    );
  });

  it('of nothing is one, too', async () => {
    const file = await seal({ device: deviceOf(), request, content: new Uint8Array(), random });
    expect(await opened(deviceOf(), file)).toEqual(new Uint8Array());
  });
});

describe('what a request leaves open', () => {
  it('is the guest’s own, and what is given stands', async () => {
    const at1 = await completeKeyRequest(deviceOf({ guestSvn: 7 }, 1), request);
    expect(at1).toMatchObject({ vmpl: 1, guestSvn: 7, tcbVersion: 0xd918_0000_0000_0004n });
    const given = await completeKeyRequest(deviceOf(), { ...request, vmpl: 2, guestSvn: 1, tcbVersion: 4n });
    expect(given).toMatchObject({ vmpl: 2, guestSvn: 1, tcbVersion: 4n });
  });

  it('needs no report where nothing is left open', async () => {
    const firmware = new ScriptedFirmware();
    const channel = openGuestChannel({ transport: hostOf(firmware), key: firmware.key(0), vmpck: 0 });
    const whole = { root: 'VEK', fields: { measurement: true }, vmpl: 0 } as const;
    expect(await completeKeyRequest(channelAttestationDevice(channel), whole)).toMatchObject(whole);
    expect(firmware.answered).toEqual([]);
  });

  it('cannot be mitigations that reports do not name', async () => {
    const wanting = { root: 'VEK', fields: { launchMitigationVector: true } } as const;
    await expect(completeKeyRequest(deviceOf(), wanting)).rejects.toThrow('reports of version 3');
    expect(await completeKeyRequest(deviceOf(), { ...wanting, launchMitigationVector: 3n })).toMatchObject({
      launchMitigationVector: 3n,
    });
  });
});

it('sealing needs a device with keys', async () => {
  const device = configfsTsmDevice({ files: new TsmModel(deviceOf()) });
  await expect(seal({ device, request, content, random })).rejects.toMatchObject({ code: 'unavailable' });
});

const installed = await hasCryptsetup();

describe('a sealed volume', () => {
  if (!installed) it.skipIf(true)('cryptsetup is not installed (package cryptsetup-bin)', () => undefined);

  if (installed) {
    it('unlocks in its guest, and nowhere else', async () => {
      const volume = join(temporaryFolder(), 'disk.img');
      writeFileSync(volume, '');
      truncateSync(volume, 20 * 1024 * 1024);
      const sealedKey = await formatSealedVolume({
        device: deviceOf(),
        request,
        volume,
        random: systemRandom,
      });
      expect(await unlockSealedVolume(deviceOf(), sealedKey, { volume })).toMatchObject({ kind: 'luks2' });
      await expect(unlockSealedVolume(deviceOf({ chip: 2 }), sealedKey, { volume })).rejects.toThrow(
        WrongSealingKeyError,
      );
      const other = await seal({ device: deviceOf(), request, content: systemRandom(32), random });
      await expect(unlockSealedVolume(deviceOf(), other, { volume })).rejects.toThrow(WrongDiskKeyError);
    });
  }

  it('is not made with a path that cryptsetup would take for an option', async () => {
    const making = formatSealedVolume({
      device: deviceOf(),
      request,
      volume: '--help',
      random: systemRandom,
    });
    await expect(making).rejects.toThrow(InvalidArgumentError);
  });
});

it('a sealed content is handed out as a secret', async () => {
  const secret = await unseal(deviceOf(), await sealed());
  expect(secret).toBeInstanceOf(Secret);
  expect(String(secret)).toBe(`[secret of ${content.length} bytes]`);
});
