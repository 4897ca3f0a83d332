import {
  buildSevCertificate,
  ecdsaSignature,
  generateP384,
  type KeyAlgorithm,
  type KeyUsage,
  keyAlgorithms,
  keyUsages,
  type P384PrivateKey,
  rsaPublicKey,
  signP384,
} from '@vouchsafe/sev';
import { beforeAll, describe, expect, it } from 'vitest';
import { validateCertificate } from './certificate-validation.js';

/** Certificates are signed here over raw bytes, so that malformed ones can be signed properly too. */
describe('the firmware’s judgement of a certificate', () => {
  let owner: P384PrivateKey;
  let platform: P384PrivateKey;
  beforeAll(async () => {
    owner = await generateP384();
    platform = await generateP384();
  });

  const build = (usage: KeyUsage, key: P384PrivateKey, algorithm: KeyAlgorithm = 'ECDSA-SHA256') =>
    buildSevCertificate({ apiMajor: 1, apiMinor: 55, usage, algorithm, publicKey: key.publicKey });
  const put = (bytes: Uint8Array, offset: number, word: number) =>
    new DataView(bytes.buffer).setUint32(offset, word, true);

  async function sign(
    certificate: Uint8Array,
    key: P384PrivateKey,
    { usage = 'OCA', algorithm = 'ECDSA-SHA256' }: { usage?: KeyUsage; algorithm?: KeyAlgorithm } = {},
  ): Promise<Uint8Array> {
    const signed = certificate.slice();
    const hash = algorithm.endsWith('384') ? 'sha384' : 'sha256';
    put(signed, 0x414, keyUsages[usage]);
    put(signed, 0x418, keyAlgorithms[algorithm]);
    signed.set(ecdsaSignature.build(await signP384(key, hash, signed.subarray(0, 0x414))), 0x41c);
    return signed;
  }

  it('accepts what was signed by one who may, with either digest', async () => {
    const pek = await sign(build('PEK', platform), owner);
    expect(await validateCertificate(pek, build('OCA', owner))).toMatchObject({ usage: 'PEK' });
    const algorithm = 'ECDSA-SHA384';
    const stronger = await sign(build('PEK', platform), owner, { algorithm });
    expect(await validateCertificate(stronger, build('OCA', owner, algorithm))).toMatchObject({
      usage: 'PEK',
    });
  });

  it('refuses signers of another kind with INVALID_CERTIFICATE, once the signature is right', async () => {
    const pdh = await sign(build('PDH', platform, 'ECDH-SHA256'), owner);
    expect(await validateCertificate(pdh, build('OCA', owner))).toBe('INVALID_CERTIFICATE');
    const oca = await sign(build('OCA', platform), owner, { usage: 'PEK' });
    expect(await validateCertificate(oca, build('PEK', owner))).toBe('INVALID_CERTIFICATE');
  });

  it('refuses keys that are not points on P-384 with INVALID_CERTIFICATE', async () => {
    const offCurve = build('PEK', platform);
    offCurve[0x20]! ^= 1;
    expect(await validateCertificate(await sign(offCurve, owner), build('OCA', owner))).toBe(
      'INVALID_CERTIFICATE',
    );
    const rsa = build('PEK', platform);
    const modulus = new Uint8Array(512).fill(0xff);
    const exponent = new Uint8Array(512);
    exponent.set([1, 0, 1], 509);
    rsa.set(rsaPublicKey.build({ modulusBits: 4096, modulus, exponent }), 0x10);
    put(rsa, 0x0c, keyAlgorithms['RSA-SHA256']);
    expect(await validateCertificate(await sign(rsa, owner), build('OCA', owner))).toBe(
      'INVALID_CERTIFICATE',
    );
  });

  it('refuses signers that cannot sign with BAD_SIGNATURE', async () => {
    const algorithm = 'ECDH-SHA256';
    const byEcdh = await sign(build('PEK', platform), owner, { algorithm });
    expect(await validateCertificate(byEcdh, build('OCA', owner, algorithm))).toBe('BAD_SIGNATURE');
    const otherCurve = build('OCA', owner);
    otherCurve[0x10] = 1;
    expect(await validateCertificate(await sign(build('PEK', platform), owner), otherCurve)).toBe(
      'BAD_SIGNATURE',
    );
  });

  it('refuses signatures that were altered, in their padding too, with BAD_SIGNATURE', async () => {
    const good = await sign(build('PEK', platform), owner);
    for (const at of [0x41c, 0x41c + 47, 0x41c + 48, 0x464, 0x41c + 0x90, 0x61b]) {
      const altered = good.slice();
      altered[at]! ^= 1;
      expect([at, await validateCertificate(altered, build('OCA', owner))]).toEqual([at, 'BAD_SIGNATURE']);
    }
  });
});
