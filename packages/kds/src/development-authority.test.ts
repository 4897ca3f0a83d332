import { chmodSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import {
  addSignature,
  buildSevCertificate,
  concat,
  generateP384,
  generations,
  InvalidArgumentError,
  isSignedBy,
  MalformedError,
  parseAmdCaCertificate,
  parseSevCertificate,
  UnavailableError,
  withoutSignatures,
} from '@vouchsafe/sev';
import { expect, test } from 'vitest';
import { type DevelopmentAuthority, openDevelopmentAuthority } from './development-authority.js';
import { testAuthorityKeys } from './testing/authority-keys.js';
import { makeChip } from './testing/chip.js';
import { temporaryFolder } from './testing/temporary.js';

const open = (folder: string, generation: DevelopmentAuthority['generation'] = 'naples') =>
  openDevelopmentAuthority({ folder, generation, generateKeys: testAuthorityKeys });

test.each(generations)(
  'the authority of %s has the form of AMD’s and says that it is not AMD',
  async (generation) => {
    const authority = await open(temporaryFolder(), generation);
    const [ask, ark] = [parseAmdCaCertificate(authority.ask), parseAmdCaCertificate(authority.ark)];
    const digit = generations.indexOf(generation) + 1;
    expect(new TextDecoder().decode(ark.keyId)).toBe(`VouchsafeDev${digit}ARK`);
    expect(new TextDecoder().decode(ask.keyId)).toBe(`VouchsafeDev${digit}ASK`);
    expect(ark.modulusBits).toBe(generation === 'naples' ? 2048 : 4096);
    expect(authority.root.name).toMatch(/^Vouchsafe Development, /);
    expect(authority.root.kind).toBe('development');
    const chip = await makeChip();
    const cek = parseSevCertificate(await authority.endorse(chip.id, chip.cek));
    expect(cek.signatures[0]).toMatchObject({
      usage: 'ASK',
      algorithm: generation === 'naples' ? 'RSA-SHA256' : 'RSA-SHA384',
    });
    expect(cek.signatures[1].kind).toBe('empty');
    expect(await isSignedBy(cek, ask)).toBe(true);
    expect(withoutSignatures(cek.raw)).toEqual(chip.cek);
  },
);

test('makes real keys when none are injected', async () => {
  const authority = await openDevelopmentAuthority({ folder: temporaryFolder(), generation: 'naples' });
  const other = await openDevelopmentAuthority({ folder: temporaryFolder(), generation: 'naples' });
  expect(authority.root.arkFingerprint).not.toBe(other.root.arkFingerprint);
});

test('opening again gives the same authority, and its endorsements', async () => {
  const folder = temporaryFolder();
  const first = await open(folder);
  const chip = await makeChip();
  const signed = await first.endorse(chip.id, chip.cek);
  const second = await openDevelopmentAuthority({
    folder,
    generation: 'naples',
    generateKeys: () => Promise.reject(new Error('keys were made twice')),
  });
  expect(second.root).toEqual(first.root);
  expect(await second.findCek(chip.id)).toEqual(signed);
  expect(await second.endorse(chip.id, chip.cek)).toEqual(signed);
  expect(await second.findAskArk('naples')).toEqual(concat(first.ask, first.ark));
  expect(await second.findAskArk('rome')).toBeUndefined();
});

test('two that open the same folder at once are one authority', async () => {
  const folder = temporaryFolder();
  const opened = await Promise.all(
    Array.from({ length: 4 }, () => openDevelopmentAuthority({ folder, generation: 'naples' })),
  );
  expect(new Set(opened.map((each) => each.root.arkFingerprint)).size).toBe(1);
  expect(readdirSync(folder)).toEqual(['naples']);
});

test('private keys are in the folder, for this user only, and in nothing that the authority shows', async () => {
  const folder = join(temporaryFolder(), 'authority');
  const authority = await open(folder);
  expect(statSync(folder).mode & 0o777).toBe(0o700);
  expect(statSync(join(folder, 'naples')).mode & 0o777).toBe(0o700);
  for (const name of ['ark.key', 'ask.key']) {
    expect(statSync(join(folder, 'naples', name)).mode & 0o777).toBe(0o600);
    expect(readFileSync(join(folder, 'naples', name), 'utf8')).toMatch(/^-----BEGIN PRIVATE KEY-----/);
  }
  expect(inspect(authority, { depth: 9, showHidden: true }) + JSON.stringify(authority)).not.toMatch(
    /PRIVATE|"d"/,
  );
});

test('keys that others can read are refused', async () => {
  const folder = temporaryFolder();
  await open(folder);
  for (const [path, mode] of [
    ['naples/ask.key', 0o640],
    ['naples/ark.key', 0o604],
    ['naples', 0o750],
  ] as const) {
    const before = statSync(join(folder, path)).mode & 0o777;
    chmodSync(join(folder, path), mode);
    await expect(open(folder)).rejects.toThrow(/others can reach it/);
    chmodSync(join(folder, path), before);
  }
  await open(folder);
});

test('a folder that lost a key is a clear error, not a new authority', async () => {
  const folder = temporaryFolder();
  await open(folder);
  rmSync(join(folder, 'naples/ask.key'));
  const error = await open(folder).catch((caught: unknown) => caught);
  expect(error).toBeInstanceOf(UnavailableError);
  expect((error as UnavailableError).hint).toMatch(/remove the folder/);
});

test('endorses CEKs only, each chip id once', async () => {
  const authority = await open(temporaryFolder());
  const [chip, other] = [await makeChip(), await makeChip()];
  await authority.endorse(chip.id, chip.cek);
  await expect(authority.endorse(chip.id, other.cek)).rejects.toThrow(/endorsed another CEK/);
  await expect(authority.endorse(new Uint8Array(63), chip.cek)).rejects.toBeInstanceOf(InvalidArgumentError);
  await expect(authority.endorse(chip.id, chip.cek.slice(1))).rejects.toBeInstanceOf(MalformedError);
  const { publicKey } = await generateP384();
  const pek = { apiMajor: 0, apiMinor: 24, usage: 'PEK', algorithm: 'ECDSA-SHA256', publicKey } as const;
  await expect(authority.endorse(other.id, buildSevCertificate(pek))).rejects.toThrow(/usage CEK, found PEK/);
  expect(await authority.findCek(other.id)).toBeUndefined();
});

test('signatures that a CEK carries already are not passed on', async () => {
  const authority = await open(temporaryFolder());
  const chip = await makeChip();
  const strangers = addSignature(
    chip.cek,
    { usage: 'ASK', algorithm: 'RSA-SHA256' },
    new Uint8Array(512).fill(1),
  );
  const signed = parseSevCertificate(await authority.endorse(chip.id, strangers));
  expect(await isSignedBy(signed, parseAmdCaCertificate(authority.ask))).toBe(true);
});
