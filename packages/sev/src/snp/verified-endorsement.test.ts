import { beforeAll, describe, expect, test } from 'vitest';
import { type Appraisal, verdict } from '../appraisal/appraisal.js';
import { InvalidArgumentError } from '../errors.js';
import { day, makeEndorser, type TestEndorser, testEndorserKeys } from '../testing/endorsements.js';
import { makeReport } from '../testing/reports.js';
import { endorse, type SnpEndorsements } from './verified-endorsement.js';
import { appraiseReport, verifyReport } from './verify-report.js';

let milan: TestEndorser;
let given: SnpEndorsements;
let report: Uint8Array;
beforeAll(async () => {
  milan = await makeEndorser('Milan', testEndorserKeys());
  const { raw } = await milan.crl();
  given = { vek: (await milan.vek('VCEK')).raw, certificates: [milan.ask.raw, milan.ark.raw], crls: [raw] };
  report = await makeReport(milan.vekKey);
});

const failed = (appraisal: Appraisal) => verdict(appraisal).failed.map(({ id }) => id);
const options = (at: string, revocation: 'require' | 'if-available' | 'skip' = 'require') => ({
  roots: [milan.root],
  at: day(at),
  revocation,
});

describe('an endorsement that its caller keeps', () => {
  test('gives what a verification from scratch gives', async () => {
    const endorsement = await endorse(given, options('2026-03-15'));
    expect(endorsement.endorsed).toBe(true);
    const { roots: _r, revocation: _v, ...rest } = options('2026-03-15');
    const expectations = { vmpl: 1, minimumGuestSvn: 6 };
    const warm = await appraiseReport(report, endorsement, { ...rest, expectations });
    const cold = await verifyReport({ report, ...given }, { ...options('2026-03-15'), expectations });
    expect(warm).toEqual(cold);
    expect(failed(warm)).toEqual(['report.guest-svn']);
    expect(verdict(await appraiseReport(report, endorsement, rest)).word).toBe('authentic');
  });

  test('is the same object while no date makes a difference', async () => {
    const endorsement = await endorse(given, options('2026-03-15'));
    expect(await endorsement.at(day('2026-03-15'))).toBe(endorsement);
    expect(await endorsement.at(day('2026-03-01') + 1)).toBe(endorsement);
    expect(await endorsement.at(day('2026-04-01') - 1)).toBe(endorsement);
    expect(await endorsement.at(day('2026-03-01'))).not.toBe(endorsement);
    expect(await endorsement.at(day('2026-04-01'))).not.toBe(endorsement);
  });

  test.each([
    ['the list is due', '2026-04-01', ['endorsement.revocation-list']],
    ['the VEK has ended', '2033-02-02', ['endorsement.vek.validity', 'endorsement.revocation-list']],
    ['the VEK has not begun', '2026-01-02', ['endorsement.vek.validity', 'endorsement.revocation-list']],
  ])('refuses once %s', async (_what, at, expected) => {
    const endorsement = await endorse(given, options('2026-03-15'));
    const appraisal = await appraiseReport(report, endorsement, { at: day(at) });
    expect(failed(appraisal)).toEqual(expect.arrayContaining(expected));
    expect(appraisal.root).toBeUndefined();
    const back = await endorsement.at(day(at));
    expect((await back.at(day('2026-03-15'))).endorsed).toBe(true);
  });

  test('that failed refuses every report', async () => {
    const endorsement = await endorse(
      { ...given, certificates: [milan.asvk.raw, milan.ark.raw] },
      options('2026-03-15'),
    );
    expect(endorsement.endorsed).toBe(false);
    expect(endorsement.root).toBeUndefined();
    const appraisal = await appraiseReport(report, endorsement, { at: day('2026-03-15') });
    expect(verdict(appraisal).accepted).toBe(false);
    expect(appraisal.root).toBeUndefined();
  });

  test('takes a VEK from a file that holds the whole chain, in PEM', async () => {
    const pem = [given.vek!, milan.ask.raw, milan.ark.raw].map(
      (der) =>
        `-----BEGIN CERTIFICATE-----\n${Buffer.from(der).toString('base64').replaceAll(/.{64}/g, '$&\n')}\n-----END CERTIFICATE-----\n`,
    );
    const bytes = new TextEncoder().encode(pem.join(''));
    for (const files of [{ vek: bytes }, { certificates: [bytes] }, { vek: bytes, certificates: [bytes] }])
      expect((await endorse(files, options('2026-03-15', 'skip'))).endorsed).toBe(true);
  });

  test('with an authority’s certificate where the VEK belongs is refused by name', async () => {
    const { endorsed, appraisal } = await endorse({ ...given, vek: milan.ask.raw }, options('2026-03-15'));
    expect(endorsed).toBe(false);
    expect(failed(appraisal)).toEqual(
      expect.arrayContaining(['endorsement.vek.name', 'endorsement.vek.key']),
    );
  });

  test('refuses what is no date', async () => {
    await expect(endorse(given, { ...options('2026-03-15'), at: Number.NaN })).rejects.toThrow(
      InvalidArgumentError,
    );
    const endorsement = await endorse(given, options('2026-03-15'));
    const expectations = { vmpl: 4 };
    await expect(
      appraiseReport(report, endorsement, { at: day('2026-03-15'), expectations }),
    ).rejects.toThrow('vmpl');
    await expect(appraiseReport(report, endorsement, { at: Number.NaN })).rejects.toThrow(
      InvalidArgumentError,
    );
  });
});
