import {
  fromBase64,
  fromHex,
  InvalidArgumentError,
  MalformedError,
  openSecret,
  rsaOaepEncrypt,
  Secret,
} from '@vouchsafe/sev';
import fc from 'fast-check';
import { beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { describeWithVectors, jsonVector } from '../../../sev/src/testing/vectors.js';
import { type JweVector, teeKeyPairOfJwk } from '../testing/tee-keys.js';
import { fromBase64Url, toBase64Url } from './base64url.js';
import { type FlattenedJwe, flattenedJwe, openFlattenedJwe, sealToTeeKey } from './flattened-jwe.js';
import { generateTeeKey, requireUsableTeeKey, type TeeKeyPair, teeKeyKinds } from './tee-key.js';

const utf8 = (text: string) => new TextEncoder().encode(text);
const textOf = (base64Url: string) => new TextDecoder().decode(fromBase64Url(base64Url));
const random = (...parts: Uint8Array[]) => {
  const left = [...parts];
  return (length: number) => {
    const next = left.shift();
    expect(next?.length).toBe(length);
    return next!;
  };
};

describeWithVectors('the responses of kbs/jwe', () => {
  it.each(['p256', 'p521', 'rsa-oaep-256'])('%s opens', async (name) => {
    const vector = jsonVector<JweVector>(`kbs/jwe/${name}.json`);
    const opened = await openFlattenedJwe(
      flattenedJwe.parse(vector.response),
      await teeKeyPairOfJwk(vector.tee_private_jwk),
    );
    expect(openSecret(opened)).toEqual(fromBase64(vector.plaintext_base64));
  });

  it.each(['p256', 'p521'])('%s is made byte for byte', async (name) => {
    const vector = jsonVector<JweVector>(`kbs/jwe/${name}.json`);
    const { publicKey } = await teeKeyPairOfJwk(vector.tee_private_jwk);
    const sealed = await sealToTeeKey(Secret.take(fromBase64(vector.plaintext_base64)), publicKey, {
      random: random(fromHex(vector.cek_hex), fromBase64Url(vector.response.iv)),
      ephemeralKey: await teeKeyPairOfJwk(vector.ephemeral_private_jwk!),
    });
    expect(sealed).toEqual(vector.response);
    expect(textOf(sealed.protected)).toBe(vector.protected_header_json);
  });

  it('rsa-oaep-256 is made with the same header and content; the wrapped key is random', async () => {
    const vector = jsonVector<JweVector>('kbs/jwe/rsa-oaep-256.json');
    const pair = await teeKeyPairOfJwk(vector.tee_private_jwk);
    const plaintext = fromBase64(vector.plaintext_base64);
    const sealed = await sealToTeeKey(Secret.copyOf(plaintext), pair.publicKey, {
      random: random(fromHex(vector.cek_hex), fromBase64Url(vector.response.iv)),
    });
    expect({ ...sealed, encrypted_key: '' }).toEqual({ ...vector.response, encrypted_key: '' });
    expect(sealed.encrypted_key).not.toBe(vector.response.encrypted_key);
    expect(openSecret(await openFlattenedJwe(sealed, pair))).toEqual(plaintext);
  });
});

describe.each(teeKeyKinds)('a secret sealed to a key of the kind %s', (kind) => {
  let pair: TeeKeyPair;
  let jwe: FlattenedJwe;
  const plaintext = utf8('the secret of the first resource');
  beforeAll(async () => {
    pair = await generateTeeKey(kind);
    jwe = await sealToTeeKey(Secret.copyOf(plaintext), pair.publicKey);
  });

  it('opens again, of any length', async () => {
    const property = fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (bytes) => {
      const sealed = await sealToTeeKey(Secret.copyOf(bytes), pair.publicKey);
      const sent: unknown = JSON.parse(JSON.stringify(flattenedJwe.toJson(sealed)));
      expect(openSecret(await openFlattenedJwe(flattenedJwe.parse(sent), pair))).toEqual(bytes);
    });
    await fc.assert(property, { numRuns: 10 });
  });

  it('has a header in the one order that survives being written again', () => {
    const header = JSON.parse(textOf(jwe.protected)) as Record<string, unknown>;
    const { alg, enc, ...others } = header;
    const sorted = (value: unknown): unknown =>
      typeof value === 'object' && value !== null
        ? Object.fromEntries(
            Object.entries(value)
              .sort(([a], [b]) => (a < b ? -1 : 1))
              .map(([name, inner]) => [name, sorted(inner)]),
          )
        : value;
    const again = JSON.stringify({ alg, enc, ...(sorted(others) as object) });
    expect(toBase64Url(utf8(again))).toBe(jwe.protected);
  });

  it('opens for no other key, and not when a byte of any part is another', async () => {
    const stranger = await generateTeeKey(kind);
    const refused = { structure: 'sealed secret', field: '/ciphertext' };
    await expect(openFlattenedJwe(jwe, stranger)).rejects.toMatchObject(refused);
    for (const part of ['encrypted_key', 'iv', 'ciphertext', 'tag'] as const) {
      const bytes = fromBase64Url(jwe[part]);
      bytes[bytes.length >> 1]! ^= 1;
      await expect(openFlattenedJwe({ ...jwe, [part]: toBase64Url(bytes) }, pair)).rejects.toMatchObject(
        refused,
      );
    }
    const spaced = toBase64Url(utf8(` ${textOf(jwe.protected)}`));
    await expect(openFlattenedJwe({ ...jwe, protected: spaced }, pair)).rejects.toMatchObject(refused);
  });

  it('is not opened under another header', async () => {
    const header = JSON.parse(textOf(jwe.protected)) as Record<string, unknown>;
    const cases: [Record<string, unknown>, string][] = [
      [{ ...header, alg: 'none' }, '/alg'],
      [{ ...header, alg: 'dir' }, '/alg'],
      [{ ...header, enc: 'A128CBC-HS256' }, '/enc'],
      [{ ...header, zip: 'DEF' }, '/zip'],
      [{ ...header, crit: ['exp'] }, '/crit'],
    ];
    for (const [other, field] of cases) {
      const changed = { ...jwe, protected: toBase64Url(utf8(JSON.stringify(other))) };
      await expect(openFlattenedJwe(changed, pair)).rejects.toMatchObject({
        code: 'malformed',
        structure: 'header of a sealed secret',
        field,
      });
    }
    const doubled = textOf(jwe.protected).replace('{', '{"alg":"none",');
    await expect(openFlattenedJwe({ ...jwe, protected: toBase64Url(utf8(doubled)) }, pair)).rejects.toThrow(
      'a member twice',
    );
  });
});

describe('sealed secrets', () => {
  it('leave neither content key nor ephemeral key behind, made or refused', async () => {
    const { publicKey } = await generateTeeKey('ECDH-ES+A256KW-P521');
    if (publicKey.kty !== 'EC') throw new Error('an EC key');
    const zero = vi.spyOn(Secret.prototype, 'zero');
    onTestFinished(() => zero.mockRestore());
    const zeroed = async (work: Promise<unknown>) => {
      zero.mockClear();
      await work.catch(() => undefined);
      return (zero.mock.contexts as Secret[]).map(({ length }) => length).sort((x, y) => x - y);
    };
    const secret = Secret.take(utf8('secret'));
    // Content key, wrapping key, scalar of P-521, what was agreed on.
    expect(await zeroed(sealToTeeKey(secret, publicKey))).toEqual([32, 32, 66, 66]);
    const offCurve = { ...publicKey, x: publicKey.y };
    expect(await zeroed(sealToTeeKey(secret, offCurve))).toEqual([32, 66]);
  });

  it('need an ephemeral key on the same curve, and a guest key on its curve', async () => {
    const secret = Secret.take(utf8('x'));
    const p256 = await generateTeeKey();
    const p521 = await generateTeeKey('ECDH-ES+A256KW-P521');
    await expect(sealToTeeKey(secret, p256.publicKey, { ephemeralKey: p521 })).rejects.toThrow(
      'expected a key on P-256',
    );
    const { y: _y, ...rest } = p256.publicKey as Extract<typeof p256.publicKey, { y: string }>;
    const off = { ...rest, y: toBase64Url(new Uint8Array(32).fill(7)) };
    await expect(sealToTeeKey(secret, off)).rejects.toThrow(InvalidArgumentError);
    await expect(requireUsableTeeKey(off)).rejects.toThrow('guest key: expected a point on P-256');
    for (const { publicKey } of [p256, p521, await generateTeeKey('RSA-OAEP-256')])
      await expect(requireUsableTeeKey(publicKey)).resolves.toBeUndefined();
    await expect(sealToTeeKey(secret, off)).rejects.toThrow('is not a point on P-256');
  });

  it('for a key of another kind are told apart by their header', async () => {
    const elliptic = await generateTeeKey();
    const rsa = await generateTeeKey('RSA-OAEP-256');
    for (const [sealedFor, opener] of [
      [elliptic, rsa],
      [rsa, elliptic],
    ] as const) {
      const jwe = await sealToTeeKey(Secret.take(utf8('x')), sealedFor.publicKey);
      const opening = openFlattenedJwe(jwe, opener);
      await expect(opening).rejects.toMatchObject({ code: 'malformed', field: '/protected/alg' });
    }
  });

  it('with a content key of another length do not open', async () => {
    const pair = await generateTeeKey('RSA-OAEP-256');
    const { n, e } = pair.publicKey as Extract<typeof pair.publicKey, { n: string }>;
    const jwe = await sealToTeeKey(Secret.take(utf8('x')), pair.publicKey);
    const modulus = { modulus: fromBase64Url(n), exponent: fromBase64Url(e) };
    const short = toBase64Url(await rsaOaepEncrypt(modulus, new Uint8Array(16)));
    await expect(openFlattenedJwe({ ...jwe, encrypted_key: short }, pair)).rejects.toMatchObject({
      code: 'malformed',
      field: '/ciphertext',
    });
  });

  it('whose ephemeral key is off the curve, or on another, do not open', async () => {
    const pair = await generateTeeKey();
    const jwe = await sealToTeeKey(Secret.take(utf8('x')), pair.publicKey);
    const other = await generateTeeKey('ECDH-ES+A256KW-P521');
    const { kty, crv, x, y } = other.publicKey as Extract<typeof other.publicKey, { y: string }>;
    const off = { crv: 'P-256', kty, x: toBase64Url(new Uint8Array(32)), y: toBase64Url(new Uint8Array(32)) };
    for (const epk of [off, { crv, kty, x, y }]) {
      const header = toBase64Url(utf8(JSON.stringify({ alg: 'ECDH-ES+A256KW', enc: 'A256GCM', epk })));
      const opening = openFlattenedJwe({ ...jwe, protected: header }, pair);
      await expect(opening).rejects.toBeInstanceOf(MalformedError);
      await expect(opening).rejects.toThrow('one that does not open');
    }
  });

  it.each([
    ['iv', toBase64Url(new Uint8Array(16)), '/iv'],
    ['tag', toBase64Url(new Uint8Array(12)), '/tag'],
    ['ciphertext', 'a+b/', '/ciphertext'],
    ['encrypted_key', 'AA==', '/encrypted_key'],
    ['protected', 7, '/protected'],
  ])('with a wrong %s are refused when they are read', (part, value, field) => {
    const good = {
      protected: 'e30',
      encrypted_key: 'AAAA',
      iv: toBase64Url(new Uint8Array(12)),
      ciphertext: '',
      tag: toBase64Url(new Uint8Array(16)),
    };
    expect(flattenedJwe.parse({ ...good, more: 1 })).toEqual(good);
    try {
      flattenedJwe.parse({ ...good, [part]: value });
      expect.unreachable();
    } catch (error) {
      expect(error).toMatchObject({ code: 'malformed', field });
    }
  });
});
