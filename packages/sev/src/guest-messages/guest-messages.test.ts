import { createCipheriv, createDecipheriv } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fromHex, isZero, toHex } from '../bytes.js';
import { InvalidArgumentError, MalformedError } from '../errors.js';
import { openSecret, Secret } from '../secret.js';
import { parseSnpReport } from '../snp/attestation-report.js';
import { describeWithVectors, vectors } from '../testing/vectors.js';
import { guestMessageHeader, guestMessageStatusName, guestMessageTypes, responseTypeOf } from './header.js';
import { derivedKeyContext, keyRequests, keyResponse } from './key-message.js';
import { reportRequest, reportResponse } from './report-message.js';
import { GuestMessageTagError, openGuestMessage, sealGuestMessage } from './seal.js';
import { secretsPage, takeSecretsPage } from './secrets-page.js';
import { sevGuestExtendedReportRequest, sevGuestIoctls, sevGuestRequest } from './sev-guest-ioctl.js';
import { tscInfoRequest, tscInfoResponse } from './tsc-info-message.js';

const key = Secret.copyOf(Uint8Array.from({ length: 32 }, (_, i) => i));
const payload = new TextEncoder().encode('what a guest says to the firmware');
const channel = { key, vmpck: 2, sequence: 0x0102_0304_0506_0709n };
const sealed = () => sealGuestMessage({ ...channel, type: 'REPORT_REQ', payload });
const opened = (bytes: Uint8Array, change = {}) => openGuestMessage({ ...channel, bytes, ...change });

describe('a guest message', () => {
  it('is laid out and protected as the specification says', async () => {
    const bytes = await sealed();
    expect(bytes.length).toBe(4096);
    // Written down here from the specification, without our own structures.
    const header = new Uint8Array(0x60);
    header.set([9, 7, 6, 5, 4, 3, 2, 1], 0x20);
    header.set([1, 1, 0x60, 0, 5, 1, payload.length, 0], 0x30);
    header[0x3c] = 2;
    const iv = Uint8Array.of(9, 7, 6, 5, 4, 3, 2, 1, 0, 0, 0, 0);
    const cipher = createCipheriv('aes-256-gcm', openSecret(key), iv).setAAD(header.subarray(0x30));
    const expected = Buffer.concat([cipher.update(payload), cipher.final()]);
    expect(toHex(bytes.subarray(0x20, 0x60))).toBe(toHex(header.subarray(0x20)));
    expect(toHex(bytes.subarray(0x60, 0x60 + payload.length))).toBe(toHex(expected));
    expect(toHex(bytes.subarray(0, 16))).toBe(toHex(cipher.getAuthTag()));
    expect(isZero(bytes.subarray(16, 32))).toBe(true);
    expect(isZero(bytes.subarray(0x60 + payload.length))).toBe(true);
  });

  it('made by others is read, with dirt in the reserved bytes that the tag covers', async () => {
    const bytes = new Uint8Array(4096).fill(0xee);
    bytes.set(new Uint8Array(0x20), 0);
    bytes.set([4, 0, 0, 0, 0, 0, 0, 0], 0x20);
    bytes.set([1, 1, 0x60, 0, 18, 1, 128, 0], 0x30);
    bytes[0x3c] = 0;
    const cipher = createCipheriv('aes-256-gcm', openSecret(key), Uint8Array.of(4, ...new Uint8Array(11)));
    cipher.setAAD(bytes.subarray(0x30, 0x60));
    bytes.set(cipher.update(new Uint8Array(128).fill(7)), 0x60);
    cipher.final();
    bytes.set(cipher.getAuthTag());
    const message = await openGuestMessage({ key, vmpck: 0, sequence: 4n, type: 'TSC_INFO_RSP', bytes });
    expect(message).toEqual({ type: 'TSC_INFO_RSP', version: 1, payload: new Uint8Array(128).fill(7) });
  });

  it('of any payload comes back', async () => {
    const lengths = fc.constantFrom(0, 1, 16, 32, 96, 3999, 4000);
    const property = fc.asyncProperty(lengths, fc.bigInt(1n, (1n << 64n) - 1n), async (length, sequence) => {
      const content = new Uint8Array(length).fill(0xa5);
      const one = { key, vmpck: 3, sequence };
      const bytes = await sealGuestMessage({ ...one, type: 'KEY_REQ', version: 2, payload: content });
      const back = await openGuestMessage({ ...one, type: 'KEY_REQ', version: 2, bytes });
      expect(back).toEqual({ type: 'KEY_REQ', version: 2, payload: content });
    });
    await fc.assert(property, { numRuns: 25 });
  });

  it('is refused at the tag when a bit of it is changed, the header’s authenticated bytes included', async () => {
    const bytes = await sealed();
    const authentic = [0x00, 0x0f, 0x38, 0x3d, 0x5f, 0x60, 0x60 + payload.length - 1];
    for (const at of authentic) {
      const changed = bytes.slice();
      changed[at]! ^= 0x40;
      await expect(opened(changed), `byte ${at}`).rejects.toThrow(GuestMessageTagError);
    }
    // A shorter payload, another type and another version are inside the authenticated header, too.
    for (const [at, value] of [
      [0x36, 1],
      [0x34, 6],
      [0x35, 2],
    ] as const) {
      const changed = bytes.slice();
      changed[at] = value;
      await expect(opened(changed), `byte ${at}`).rejects.toThrow(GuestMessageTagError);
    }
  });

  it('of another key is refused at the tag', async () => {
    const other = Secret.take(new Uint8Array(32));
    await expect(opened(await sealed(), { key: other })).rejects.toThrow(GuestMessageTagError);
  });

  it.each<[string, number, number[], string]>([
    ['another algorithm', 0x30, [2], 'algorithm'],
    ['another header version', 0x31, [2], 'headerVersion'],
    ['another header size', 0x32, [0x61], 'headerSize'],
    ['an unknown type', 0x34, [0], 'type'],
    ['a payload that is too long', 0x36, [0xa1, 0x0f], 'size'],
    ['another VMPCK', 0x3c, [1], 'vmpck'],
    ['another sequence number', 0x20, [0x0b], 'sequence'],
  ])('with %s is refused at the header', async (_what, at, values, field) => {
    const bytes = await sealed();
    bytes.set(values, at);
    const refusal = opened(bytes);
    await expect(refusal).rejects.toThrow(MalformedError);
    await expect(refusal).rejects.toMatchObject({ field, offset: at });
  });

  it('of a type or version that was not expected is refused at the header', async () => {
    const bytes = await sealed();
    await expect(opened(bytes, { type: 'KEY_REQ' })).rejects.toMatchObject({ field: 'type' });
    await expect(opened(bytes, { version: 2 })).rejects.toMatchObject({ field: 'version' });
    await expect(opened(bytes.subarray(1))).rejects.toMatchObject({ field: 'length' });
  });

  it('cannot be made of what no message may hold', async () => {
    const message = { ...channel, type: 'REPORT_REQ', payload } as const;
    for (const wrong of [{ sequence: 0n }, { vmpck: 4 }, { vmpck: -1 }, { payload: new Uint8Array(4001) }]) {
      await expect(sealGuestMessage({ ...message, ...wrong })).rejects.toThrow(InvalidArgumentError);
    }
    await expect(opened(await sealed(), { vmpck: 4 })).rejects.toThrow(InvalidArgumentError);
  });

  it('and its response have neighbouring types', () => {
    for (const [name, type] of Object.entries(guestMessageTypes)) {
      const response = responseTypeOf(name as keyof typeof guestMessageTypes);
      if (type % 2 === 0) expect(response).toBeUndefined();
      else expect(response).toBe(name.replace('_REQ', '_RSP'));
    }
    expect(guestMessageTypes).toMatchObject({
      KEY_REQ: 3,
      REPORT_RSP: 6,
      ABSORB_NOMA_REQ: 15,
      TSC_INFO_RSP: 18,
    });
  });

  it('answers with a status of its own', () => {
    expect([0, 0x16, 0x27, 1].map(guestMessageStatusName)).toEqual([
      'SUCCESS',
      'INVALID_PARAM',
      'INVALID_KEY',
      undefined,
    ]);
  });
});

/** Offsets as the specification and linux have them, written down by hand. */
const layouts: readonly [{ size: number; offsetOf(name: never): number }, number, Record<string, number>][] =
  [
    [guestMessageHeader, 0x60, { authTag: 0, sequence: 0x20, algorithm: 0x30, type: 0x34, vmpck: 0x3c }],
    [reportRequest, 96, { reportData: 0, vmpl: 0x40, flags: 0x44 }],
    [reportResponse, 1216, { status: 0, reportSize: 4, report: 0x20 }],
    [keyRequests.v1, 32, { root: 0, fields: 8, vmpl: 0x10, guestSvn: 0x14, tcbVersion: 0x18 }],
    [keyRequests.v2, 40, { tcbVersion: 0x18, launchMitigationVector: 0x20 }],
    [keyResponse, 64, { status: 0, key: 0x20 }],
    [tscInfoRequest, 128, {}],
    [tscInfoResponse, 128, { status: 0, scale: 8, offset: 0x10, factor: 0x18 }],
    [
      derivedKeyContext,
      0xd0,
      {
        root: 0,
        fields: 8,
        vmpl: 0x10,
        guestSvn: 0x14,
        tcbVersion: 0x18,
        policy: 0x20,
        imageId: 0x28,
        familyId: 0x38,
        measurement: 0x48,
        hostData: 0x78,
        idKeyDigest: 0x98,
        launchMitigationVector: 0xc8,
      },
    ],
    [
      secretsPage,
      4096,
      {
        version: 0,
        fms: 8,
        gosvw: 0x10,
        vmpck0: 0x20,
        vmpck1: 0x40,
        vmpck2: 0x60,
        vmpck3: 0x80,
        sequence0Low: 0xa0,
        sequence3Low: 0xac,
        apJumpTable: 0xb0,
        sequence0High: 0xb8,
        sequence3High: 0xc4,
        guestAreaVersion: 0xde,
        guestArea: 0xe0,
        vmsaTweakBitmap: 0x100,
        svsmBase: 0x140,
        svsmGuestVmpl: 0x15c,
        tscFactor: 0x160,
        launchMitigationVector: 0x168,
      },
    ],
    [
      sevGuestRequest,
      32,
      { messageVersion: 0, requestAddress: 8, responseAddress: 0x10, firmwareError: 0x18, vmmError: 0x1c },
    ],
    [sevGuestExtendedReportRequest, 112, { report: 0, certificatesAddress: 96, certificatesLength: 104 }],
  ];

describe('payloads', () => {
  it.each(layouts)('%o has its size and offsets', (structure, size, offsets) => {
    expect(structure.size).toBe(size);
    for (const [name, offset] of Object.entries(offsets))
      expect([name, structure.offsetOf(name as never)]).toEqual([name, offset]);
  });

  it('select fields and keys with the bits of the specification', () => {
    const bytes = keyRequests.v1.build({
      root: { vmrk: true, keySelection: 2 },
      fields: {
        policy: true,
        imageId: false,
        familyId: false,
        measurement: true,
        guestSvn: false,
        tcbVersion: true,
        launchMitigationVector: false,
      },
      vmpl: 1,
    });
    expect([bytes[0], bytes[8], bytes[0x10]]).toEqual([0b101, 0b10_1001, 1]);
    bytes[8] = 0x80;
    expect(() => keyRequests.v1.parse(bytes)).toThrow(MalformedError);
    const request = reportRequest.build({ reportData: new Uint8Array(64), vmpl: 0 });
    request[0x44] = 4;
    expect(() => reportRequest.parse(request)).toThrow(MalformedError);
  });

  it('are asked for with the ioctls of linux', () => {
    const iowr = (number: number) => (3 << 30) | (32 << 16) | (0x53 << 8) | number;
    expect(Object.values(sevGuestIoctls)).toEqual([0, 1, 2].map((number) => iowr(number) >>> 0));
  });
});

describeWithVectors('responses of real firmware', () => {
  it('a report', () => {
    const payload = vectors('snp/messages/msg-report-rsp-v2.bin');
    const response = reportResponse.parseAt(payload, 0);
    expect(response).toMatchObject({ status: 0, reportSize: 0x4a0, notes: [] });
    expect(parseSnpReport(response.report).version).toBe(2);
  });

  it('a key', () => {
    const { status, key: derived } = keyResponse.parse(vectors('snp/messages/msg-key-rsp.bin'));
    expect(status).toBe(0);
    expect(toHex(derived)).toBe('c479fbdb80a40801a4bc42ab9865950f469e9ed1b0e81be482b857dbc57d1d3d');
  });
});

describe('the secrets page', () => {
  const filled = () =>
    secretsPage.build({
      version: 3,
      fms: 0xa20f11,
      vmpck0: new Uint8Array(32).fill(0xa0),
      vmpck1: new Uint8Array(32).fill(0xa1),
      vmpck2: new Uint8Array(32).fill(0xa2),
      vmpck3: new Uint8Array(32).fill(0xa3),
      sequence1Low: 0xffff_fffe,
      sequence1High: 1,
      launchMitigationVector: 0xbn,
    });

  it('gives its keys out as secrets, and leaves no copy behind', () => {
    const bytes = filled();
    const page = takeSecretsPage(bytes);
    expect(page).toMatchObject({ version: 3, fms: 0xa20f11, launchMitigationVector: 0xbn });
    expect(page.vmpcks.map((each) => toHex(openSecret(each).subarray(0, 2)))).toEqual([
      'a0a0',
      'a1a1',
      'a2a2',
      'a3a3',
    ]);
    expect(page.sequences).toEqual([0n, 0x1_ffff_fffen, 0n, 0n]);
    expect(isZero(bytes)).toBe(true);
    expect(JSON.stringify(page.vmpcks)).not.toContain('a0a0');
  });

  it('of newer firmware is read', () => {
    const bytes = filled();
    bytes[0x170] = 1;
    expect(takeSecretsPage(bytes).version).toBe(3);
  });

  it('of another length is refused', () => {
    expect(() => takeSecretsPage(filled().subarray(1))).toThrow(MalformedError);
  });
});

it('the seal is what node:crypto opens', async () => {
  const bytes = await sealed();
  const decipher = createDecipheriv('aes-256-gcm', openSecret(key), fromHex('090706050403020100000000'));
  decipher.setAAD(bytes.subarray(0x30, 0x60)).setAuthTag(bytes.subarray(0, 16));
  const plain = Buffer.concat([
    decipher.update(bytes.subarray(0x60, 0x60 + payload.length)),
    decipher.final(),
  ]);
  expect(toHex(plain)).toBe(toHex(payload));
});
