import { spawnSync } from 'node:child_process';
import { createPrivateKey } from 'node:crypto';
import {
  buildSevCertificate,
  generateP384,
  InvalidArgumentError,
  isSignedBy,
  MalformedError,
  openSecret,
  parseSevCertificate,
} from '@vouchsafe/sev';
import { expect, test } from 'vitest';
import { makePlatformOwner, readPlatformOwner, signPek, writeOwnerKey } from './ownership.js';

async function request(usage: 'PEK' | 'PDH' = 'PEK') {
  const { publicKey } = await generateP384();
  return buildSevCertificate({ apiMajor: 1, apiMinor: 51, usage, algorithm: 'ECDSA-SHA256', publicKey });
}

test('an owner’s certificate is signed by itself, and its PEK by it, each in slot 1', async () => {
  const owner = await makePlatformOwner();
  const oca = parseSevCertificate(owner.certificate);
  expect(oca).toMatchObject({ usage: 'OCA', algorithm: 'ECDSA-SHA256' });
  expect(await isSignedBy(oca, oca)).toBe(true);
  const pek = parseSevCertificate(await signPek(await request(), owner));
  expect(pek.signatures.map((slot) => slot.usage)).toEqual(['OCA', 'INVALID']);
  expect(await isSignedBy(pek, oca)).toBe(true);
});

test('only an unsigned PEK is signed, and only with the key of the certificate', async () => {
  const [owner, other] = [await makePlatformOwner(), await makePlatformOwner()];
  await expect(signPek(await request('PDH'), owner)).rejects.toThrow(/a PEK without signatures/);
  await expect(signPek(await signPek(await request(), owner), owner)).rejects.toThrow(
    /a PEK without signatures/,
  );
  await expect(signPek(new Uint8Array(10), owner)).rejects.toBeInstanceOf(MalformedError);
  const mixed = { certificate: owner.certificate, key: other.key };
  await expect(signPek(await request(), mixed)).rejects.toThrow(/not the key of the owner's certificate/);
});

test('the key is kept as sevctl keeps it, and read in each usual form', async () => {
  const owner = await makePlatformOwner();
  const sec1 = openSecret(writeOwnerKey(owner.key));
  const object = createPrivateKey({ key: Buffer.from(sec1), format: 'der', type: 'sec1' });
  const forms = [
    sec1,
    object.export({ type: 'sec1', format: 'pem' }),
    object.export({ type: 'pkcs8', format: 'pem' }),
    object.export({ type: 'pkcs8', format: 'der' }),
  ];
  for (const form of forms) {
    const read = readPlatformOwner(
      owner.certificate,
      typeof form === 'string' ? new TextEncoder().encode(form) : form,
    );
    expect(openSecret(read.key.scalar)).toEqual(openSecret(owner.key.scalar));
    await signPek(await request(), read);
  }
});

test('keys that are none, of another curve or of another owner are refused without being quoted', async () => {
  const { certificate } = await makePlatformOwner();
  const other = await makePlatformOwner();
  const p256 = '-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQ\n';
  const refused = (key: Uint8Array) =>
    expect(() => readPlatformOwner(certificate, key)).toThrow(InvalidArgumentError);
  refused(new TextEncoder().encode(p256));
  refused(new Uint8Array(100));
  refused(openSecret(writeOwnerKey(other.key)));
  expect(() => readPlatformOwner(new Uint8Array(5), new Uint8Array(5))).toThrow(MalformedError);
});

const openssl = spawnSync('openssl', ['version']).status === 0;

test.skipIf(!openssl)('openssl reads the key (package openssl)', async () => {
  const { key } = await makePlatformOwner();
  const { stdout } = spawnSync('openssl', ['ec', '-inform', 'DER', '-noout', '-text'], {
    input: openSecret(writeOwnerKey(key)),
    encoding: 'utf8',
  });
  expect(stdout).toMatch(/secp384r1/);
});
