import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { concat, fromBase64, fromHex, toBase64, toHex, u32le } from '../bytes.js';
import { hmacSha256 } from '../crypto/index.js';
import { InvalidArgumentError, MalformedError } from '../errors.js';
import { buildSecretTable, parseSecretTable } from '../launch/secret-table.js';
import { openSecret } from '../secret.js';
import { byteArray, byteChange, changed } from '../testing/mutations.js';
import { describeWithVectors, jsonVector, vectors } from '../testing/vectors.js';
import { parseLaunchMeasurement } from './measurement.js';
import {
  buildSecretPacket,
  largestSecretPacket,
  openSecretPacket,
  PacketRefusedError,
  PacketUnsupportedError,
  secretPacketHeader,
} from './secret-packet.js';

interface SecretVectors {
  readonly tik: string;
  readonly tek: string;
  readonly launch_blob: string;
  readonly iv: string;
  readonly cases: readonly {
    readonly id: string;
    readonly secrets: readonly { readonly guid: string; readonly file: string }[];
    readonly expect: { readonly header?: string; readonly payload?: string; readonly payload_size: number };
  }[];
}

describeWithVectors('secret packet, known answers', () => {
  const known = jsonVector<SecretVectors>('sev/secret/secret.json');
  const { measurement } = parseLaunchMeasurement(fromBase64(known.launch_blob));
  const keys = { tek: fromHex(known.tek), tik: fromHex(known.tik), measurement, apiMajor: 1, apiMinor: 49 };
  const read = (secret: { guid: string; file: string }) => ({
    guid: secret.guid,
    data: vectors(`sev/secret/${secret.file}`),
  });

  test.each(known.cases.map((each) => [each.id, each] as const))(
    '%s',
    async (_id, { secrets, expect: answer }) => {
      const entries = secrets.map(read);
      const packet = await buildSecretPacket({
        ...keys,
        iv: fromHex(known.iv),
        plaintext: buildSecretTable(entries),
      });
      expect(packet.payload).toHaveLength(answer.payload_size);
      if (answer.header) expect(toBase64(packet.header)).toBe(answer.header);
      if (answer.payload) expect(toBase64(packet.payload)).toBe(answer.payload);
      const table = parseSecretTable(await openSecretPacket({ ...keys, ...packet }));
      expect(table.map(({ guid, data }) => ({ guid, data: openSecret(data) }))).toEqual(entries);
    },
  );

  test('one byte more than the largest secret is refused', async () => {
    const data = concat(vectors('sev/secret/secret4.txt'), Uint8Array.of(0));
    const plaintext = buildSecretTable([{ guid: known.cases[0]!.secrets[0]!.guid, data }]);
    const building = buildSecretPacket({ ...keys, iv: fromHex(known.iv), plaintext });
    await expect(building).rejects.toThrow(InvalidArgumentError);
  });
});

const keys = {
  tek: new Uint8Array(16).fill(1),
  tik: new Uint8Array(16).fill(2),
  measurement: new Uint8Array(32).fill(3),
  apiMajor: 1,
  apiMinor: 55,
};
const iv = new Uint8Array(16).fill(4);
const plaintext = new Uint8Array(64).fill(5);

describe('secret packet', () => {
  test('any plaintext of whole blocks comes back', async () => {
    const blocks = fc.integer({ min: 1, max: largestSecretPacket / 16 });
    await fc.assert(
      fc.asyncProperty(blocks, byteArray(16), byteArray(16), async (count, block, anyIv) => {
        const given = concat(...Array.from({ length: count }, () => block));
        const packet = await buildSecretPacket({ ...keys, iv: anyIv, plaintext: given });
        expect(await openSecretPacket({ ...keys, ...packet })).toEqual(given);
      }),
      { numRuns: 50 },
    );
  });

  test('the payload does not show the plaintext', async () => {
    const { payload } = await buildSecretPacket({ ...keys, iv, plaintext });
    expect(toHex(payload)).not.toContain('05050505');
  });

  test('any one changed byte of header or payload is refused', async () => {
    const { header, payload } = await buildSecretPacket({ ...keys, iv, plaintext });
    await fc.assert(
      fc.asyncProperty(byteChange(header.length + payload.length), async (change) => {
        const whole = changed(concat(header, payload), change);
        const altered = { header: whole.slice(0, header.length), payload: whole.slice(header.length) };
        await expect(openSecretPacket({ ...keys, ...altered })).rejects.toThrow(PacketRefusedError);
      }),
      { numRuns: 400 },
    );
  });

  test.each([
    ['another TIK', { tik: new Uint8Array(16) }],
    ['another launch', { measurement: new Uint8Array(32) }],
    ['another API’s form', { apiMajor: 0, apiMinor: 16 }],
  ])('is refused under %s', async (_what, change) => {
    const packet = await buildSecretPacket({ ...keys, iv, plaintext });
    await expect(openSecretPacket({ ...keys, ...packet, ...change })).rejects.toThrow(PacketRefusedError);
  });

  test('a payload cut or extended by whole blocks is refused', async () => {
    const { header, payload } = await buildSecretPacket({ ...keys, iv, plaintext });
    for (const other of [payload.slice(16), payload.slice(0, 48), concat(payload, new Uint8Array(16))]) {
      await expect(openSecretPacket({ ...keys, header, payload: other })).rejects.toThrow(PacketRefusedError);
    }
  });

  test('before API 0.17 a packet fits any launch under the same keys', async () => {
    const old = { ...keys, apiMajor: 0, apiMinor: 16 };
    const packet = await buildSecretPacket({ ...old, iv, plaintext });
    const elsewhere = { ...old, measurement: new Uint8Array(32).fill(9) };
    expect(await openSecretPacket({ ...elsewhere, ...packet })).toEqual(plaintext);
  });

  test.each([0, 8, 17, largestSecretPacket + 16])('%d bytes are not built and not opened', async (length) => {
    const bytes = new Uint8Array(length);
    await expect(buildSecretPacket({ ...keys, iv, plaintext: bytes })).rejects.toThrow(InvalidArgumentError);
    const { header } = await buildSecretPacket({ ...keys, iv, plaintext });
    await expect(openSecretPacket({ ...keys, header, payload: bytes })).rejects.toThrow(MalformedError);
  });

  test.each([0, 0x33, 0x35])('a header of %d bytes is malformed', async (length) => {
    const header = new Uint8Array(length);
    await expect(openSecretPacket({ ...keys, header, payload: plaintext })).rejects.toThrow(MalformedError);
  });

  test.each(['tek', 'tik', 'iv', 'measurement'])('refuses to build with a short %s', async (name) => {
    const building = buildSecretPacket({ ...keys, iv, plaintext, [name]: new Uint8Array(3) });
    await expect(building).rejects.toThrow(InvalidArgumentError);
  });

  test('an authentic packet that says it is compressed is not opened', async () => {
    const { payload } = await buildSecretPacket({ ...keys, iv, plaintext });
    const length = u32le(payload.length);
    const covered = concat(Uint8Array.of(1), u32le(1), iv, length, length, payload, keys.measurement);
    const mac = await hmacSha256(keys.tik, covered);
    const header = secretPacketHeader.build({ flags: { compressed: true }, iv, mac });
    await expect(openSecretPacket({ ...keys, header, payload })).rejects.toThrow(PacketUnsupportedError);
  });
});

test('keys of another length are refused before they are used, when packing and when opening', async () => {
  const binding = {
    tek: new Uint8Array(16),
    tik: new Uint8Array(16),
    measurement: new Uint8Array(32),
    apiMajor: 1,
    apiMinor: 55,
  };
  const iv = new Uint8Array(16);
  const plaintext = new Uint8Array(16);
  const packet = await buildSecretPacket({ ...binding, iv, plaintext });
  for (const name of ['tek', 'tik', 'measurement'] as const) {
    const short = { ...binding, [name]: binding[name].subarray(1) };
    await expect(openSecretPacket({ ...short, ...packet })).rejects.toMatchObject({ argument: name });
    await expect(buildSecretPacket({ ...short, iv, plaintext })).rejects.toMatchObject({ argument: name });
  }
});
