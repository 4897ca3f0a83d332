import { chmodSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import {
  amdEndorsementRoots,
  appraiseEndorsement,
  type EndorsementOptions,
  generateP384,
  InvalidArgumentError,
  nameText,
  parseAmdCaCertificate,
  parseCertificate,
  parseRevocationList,
  parseVek,
  readCertificates,
  verdict,
  type X509Certificate,
} from '@vouchsafe/sev';
import { describe, expect, test } from 'vitest';
import { openDevelopmentAuthority } from '../development-authority.js';
import { strangerKeys, testAuthorityKeys } from '../testing/authority-keys.js';
import {
  chipIdOf,
  day,
  endorsedChip,
  generationOf,
  snpAuthority,
  tcbOf,
  testClock,
  testTime,
} from '../testing/snp-chip.js';
import { temporaryFolder } from '../testing/temporary.js';
import type { EndorsementAuthority } from './endorsement-authority.js';
import { vcekRequest } from './endorsement-request.js';

const lines = ['Milan', 'Genoa', 'Turin'] as const;

/** Everything that the authority serves for a VEK, verified. */
async function failures(
  snp: EndorsementAuthority,
  vek: X509Certificate,
  options: Partial<EndorsementOptions> = {},
) {
  const { kind } = parseVek(vek);
  const chain = await snp.findEndorsement({ what: 'chain', kind, line: snp.line });
  const crl = await snp.findEndorsement({ what: 'crl', kind, line: snp.line });
  const appraisal = await appraiseEndorsement(
    {
      vek,
      certificates: readCertificates(chain!),
      crls: [{ ...parseRevocationList(crl!), covers: kind }],
    },
    { roots: [snp.root], at: testTime, revocation: 'require', ...options },
  );
  return { appraisal, failed: verdict(appraisal).failed.map(({ id }) => id) };
}

describe.each(lines)('the authority of %s', (line) => {
  test('endorses chips by the rules that verification holds it to', async () => {
    const { snp, vcek, chip, key } = await endorsedChip(line);
    const certificate = parseCertificate(vcek);
    const { appraisal, failed } = await failures(snp, certificate);
    expect(failed).toEqual([]);
    expect(appraisal.root).toMatchObject({ kind: 'development', name: `Vouchsafe Development, ${line}` });
    expect(certificate.publicKey).toEqual(key.publicKey);
    const hwid = line === 'Turin' ? chip.chipId.slice(0, 8) : chip.chipId;
    expect(parseVek(certificate)).toMatchObject({ kind: 'VCEK', line, hwid, tcb: chip.tcb });
  });

  test('endorses cloud operators', async () => {
    const { snp } = await snpAuthority(line);
    const { publicKey } = await generateP384();
    const vlek = parseCertificate(await snp.endorseVlek({ line, tcb: tcbOf(line), publicKey }));
    expect((await failures(snp, vlek)).failed).toEqual([]);
    expect(parseVek(vlek)).toMatchObject({ kind: 'VLEK', line, cspId: 'CN=cloud.vouchsafe.invalid' });
    expect(await snp.findEndorsement({ what: 'vlek', line, tcb: tcbOf(line) })).toEqual(vlek.raw);
  });

  test('uses the ARK and ASK keys of its older form, and never AMD’s names', async () => {
    const { authority, snp } = await snpAuthority(line);
    const pairs = [
      [authority.ark, snp.ark],
      [authority.ask, snp.ask],
    ] as const;
    for (const [older, newer] of pairs) {
      const certificate = parseCertificate(newer);
      const { publicKey } = certificate;
      expect('modulus' in publicKey && publicKey.modulus).toEqual(
        parseAmdCaCertificate(older).publicKey.modulus,
      );
      expect(nameText(certificate.subject.attributes)).toContain('Vouchsafe Development');
    }
  });
});

test('what it endorses never passes for AMD’s, nor for another development authority’s', async () => {
  const { snp, vcek } = await endorsedChip('Milan');
  const other = await openDevelopmentAuthority({
    folder: temporaryFolder(),
    generation: 'milan',
    generateKeys: strangerKeys,
  });
  for (const roots of [amdEndorsementRoots, [other.snp!.root]]) {
    const { appraisal, failed } = await failures(snp, parseCertificate(vcek), { roots });
    expect(appraisal.root).toBeUndefined();
    expect(failed).toContain('endorsement.ark.root');
  }
});

describe('revocation', () => {
  test.each(['ASK', 'ASVK'] as const)('of the %s is on the list, for good, and noticed', async (role) => {
    const clock = testClock();
    const { snp, vcek, folder } = await endorsedChip('Milan', { now: clock.now });
    const { publicKey } = await generateP384();
    const vlek = await snp.endorseVlek({ line: 'Milan', tcb: tcbOf('Milan'), publicKey });
    const [revoked, other] = role === 'ASK' ? [vcek, vlek] : [vlek, vcek];
    await snp.revoke(role);
    clock.pass(1000);
    await snp.revoke(role);
    const again = (await snpAuthority('Milan', { folder, now: clock.now })).snp;
    for (const each of [snp, again]) {
      expect((await failures(each, parseCertificate(revoked), { at: clock.now() })).failed).toEqual([
        'endorsement.revocation',
      ]);
      expect((await failures(each, parseCertificate(other), { at: clock.now() })).failed).toEqual([]);
    }
  });

  test('lists last a week, are signed anew each day, and their numbers grow', async () => {
    const clock = testClock();
    const { snp } = await snpAuthority('Milan', { now: clock.now });
    const fetched = async () =>
      parseRevocationList((await snp.findEndorsement({ what: 'crl', kind: 'VCEK', line: 'Milan' }))!);
    const first = await fetched();
    expect([first.thisUpdate, first.nextUpdate]).toEqual([testTime, testTime + 7 * day]);
    clock.pass(day - 1000);
    expect((await fetched()).raw).toEqual(first.raw);
    clock.pass(1000);
    expect((await fetched()).thisUpdate).toBe(testTime + day);
    // A clock that was set back: a list of the future would be refused.
    clock.set(testTime - day);
    expect((await fetched()).thisUpdate).toBe(testTime - day);
  });
});

describe('endorsing', () => {
  test('the same again gives the same certificate; another key for the chip is refused', async () => {
    const { snp, vcek, chip, key } = await endorsedChip('Genoa');
    expect(await snp.endorseVcek({ ...chip, publicKey: key.publicKey })).toEqual(vcek);
    const { publicKey } = await generateP384();
    await expect(snp.endorseVcek({ ...chip, publicKey })).rejects.toThrow(/another one was endorsed/);
    const later = await snp.endorseVcek({ ...chip, tcb: { ...chip.tcb, snp: 25 }, publicKey });
    expect(parseVek(parseCertificate(later)).tcb.snp).toBe(25);
    expect(await snp.findEndorsement(vcekRequest(chip))).toEqual(vcek);
  });

  test('operators do not share certificates, and only one is served', async () => {
    const { snp } = await snpAuthority('Milan');
    const [one, two] = [await generateP384(), await generateP384()];
    const tcb = tcbOf('Milan');
    const mine = await snp.endorseVlek({ line: 'Milan', tcb, publicKey: one.publicKey });
    const other = { line: 'Milan', tcb, publicKey: two.publicKey, cspId: 'CN=other.invalid' } as const;
    expect(parseVek(parseCertificate(await snp.endorseVlek(other))).cspId).toBe('CN=other.invalid');
    expect(await snp.findEndorsement({ what: 'vlek', line: 'Milan', tcb })).toEqual(mine);
  });

  test('an expired certificate is made anew for the same key', async () => {
    const clock = testClock();
    const { snp, chip, key, vcek } = await endorsedChip('Milan', { now: clock.now });
    clock.pass(8 * 365 * day);
    const renewed = await snp.endorseVcek({ ...chip, publicKey: key.publicKey });
    expect(renewed).not.toEqual(vcek);
    expect(parseCertificate(renewed).notAfter).toBeGreaterThan(clock.now());
  });

  test('another product line, a point off the curve and a masked chip are refused', async () => {
    const { snp, chip, key } = await endorsedChip('Milan');
    const { publicKey } = key;
    const genoa = { line: 'Genoa', chipId: chipIdOf('Genoa'), tcb: tcbOf('Genoa'), publicKey } as const;
    await expect(snp.endorseVcek(genoa)).rejects.toThrow(/endorses Milan, not Genoa/);
    const off = { x: publicKey.x, y: publicKey.y.map((byte) => byte ^ 1) };
    await expect(snp.endorseVcek({ ...chip, chipId: chipIdOf('Milan'), publicKey: off })).rejects.toThrow(
      /not a point/,
    );
    const masked = { ...chip, chipId: new Uint8Array(64), publicKey };
    await expect(snp.endorseVcek(masked)).rejects.toBeInstanceOf(InvalidArgumentError);
  });

  test('what it does not know, it does not find', async () => {
    const { snp, authority, chip } = await endorsedChip('Milan');
    expect(
      await authority.findEndorsement!(vcekRequest({ ...chip, chipId: chipIdOf('Milan') })),
    ).toBeUndefined();
    expect(await snp.findEndorsement({ what: 'crl', kind: 'VCEK', line: 'Genoa' })).toBeUndefined();
    expect(await snp.findEndorsement({ what: 'vlek', line: 'Milan', tcb: tcbOf('Milan') })).toBeUndefined();
  });
});

describe('its folder', () => {
  test('opening again gives the same root and endorsements', async () => {
    const { snp, folder, chip, vcek } = await endorsedChip('Turin');
    const again = (await snpAuthority('Turin', { folder })).snp;
    expect(again.root).toEqual(snp.root);
    expect(await again.findEndorsement(vcekRequest(chip))).toEqual(vcek);
    expect(await again.asvk()).toEqual(await snp.asvk());
  });

  test('one from before SEV-SNP gains what it lacks, once, whoever opens it', async () => {
    const { folder, authority } = await snpAuthority('Milan');
    for (const name of ['ark.der', 'ask.der', 'asvk.key']) rmSync(join(folder, 'milan', name));
    const opened = await Promise.all([1, 2].map(() => snpAuthority('Milan', { folder })));
    expect(new Set(opened.map(({ snp }) => snp.root.arkSha256)).size).toBe(1);
    const asvks = await Promise.all(opened.map(({ snp }) => snp.asvk()));
    expect(asvks[1]).toEqual(asvks[0]);
    expect(opened[0]!.authority.ark).toEqual(authority.ark);
  });

  test('the ASVK’s private key is its owner’s only, and shown nowhere', async () => {
    const { folder, snp } = await snpAuthority('Milan');
    await snp.asvk();
    const path = join(folder, 'milan/asvk.key');
    expect(readFileSync(path, 'utf8')).toMatch(/^-----BEGIN PRIVATE KEY-----/);
    expect(inspect(snp, { depth: 9, showHidden: true }) + Object.keys(snp).join()).not.toMatch(/PRIVATE|"d"/);
    chmodSync(path, 0o640);
    const again = await snpAuthority('Milan', { folder });
    await expect(again.snp.asvk()).rejects.toThrow(/others can reach it/);
  });

  test('generations without SEV-SNP have no such side', async () => {
    for (const generation of ['naples', 'rome'] as const) {
      const folder = temporaryFolder();
      const authority = await openDevelopmentAuthority({
        folder,
        generation,
        generateKeys: testAuthorityKeys,
      });
      expect(authority.snp).toBeUndefined();
      expect(await authority.findEndorsement!({ what: 'crl', kind: 'VCEK', line: 'Milan' })).toBeUndefined();
    }
    expect(Object.values(generationOf)).not.toContain('rome');
  });
});
