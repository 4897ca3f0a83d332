import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Appraisal, verdict } from '../appraisal/appraisal.js';
import { concat, fromBase64, fromHex, toBase64, toHex, u32le } from '../bytes.js';
import { hmacSha256 } from '../crypto/index.js';
import { InvalidArgumentError, MalformedError } from '../errors.js';
import { calculateLaunchDigest } from '../launch/launch-digest.js';
import { byteChange, changed } from '../testing/mutations.js';
import { describeWithVectors, jsonVector, vectors } from '../testing/vectors.js';
import {
  type AppraiseMeasurementOptions,
  appraiseLaunchMeasurement,
  bindsMeasurement,
  measureLaunch,
  parseLaunchMeasurement,
} from './measurement.js';

interface MeasurementCase {
  readonly id: string;
  readonly tik: string;
  readonly api_major: number;
  readonly api_minor: number;
  readonly build: number;
  readonly policy: number;
  readonly launch_digest?: string;
  readonly firmware?: string;
  readonly mnonce: string;
  readonly expect: { readonly measurement?: string; readonly blob?: string; readonly launch_digest?: string };
}

describeWithVectors('launch measurement, known answers', () => {
  const { cases } = jsonVector<{ cases: MeasurementCase[] }>('sev/measurement.json');

  test.each(cases.map((each) => [each.id, each] as const))('%s', async (_id, known) => {
    const launchDigest =
      known.firmware === undefined
        ? fromHex(known.launch_digest!)
        : (await calculateLaunchDigest({ mode: 'sev', firmware: vectors(`sev/${known.firmware}`) })).digest;
    if (known.expect.launch_digest) expect(toHex(launchDigest)).toBe(known.expect.launch_digest);
    const mnonce = fromHex(known.mnonce);
    const measurement = await measureLaunch({
      tik: fromHex(known.tik),
      apiMajor: known.api_major,
      apiMinor: known.api_minor,
      buildId: known.build,
      policy: known.policy,
      launchDigest,
      mnonce,
    });
    if (known.expect.measurement) expect(toHex(measurement)).toBe(known.expect.measurement);
    if (known.expect.blob) expect(toBase64(concat(measurement, mnonce))).toBe(known.expect.blob);
  });

  test('parses a blob of QEMU', () => {
    const known = cases.find(({ id }) => id === 'sevctl-digest')!;
    const { mnonce } = parseLaunchMeasurement(fromBase64(known.expect.blob!));
    expect(toHex(mnonce)).toBe(known.mnonce);
  });
});

const tik = new Uint8Array(16).fill(1);
const mnonce = new Uint8Array(16).fill(2);
const launchDigest = new Uint8Array(32).fill(3);
const platform = { apiMajor: 1, apiMinor: 55, buildId: 24 };

async function blobOf(changes: Partial<Parameters<typeof measureLaunch>[0]> = {}) {
  const measurement = await measureLaunch({ tik, ...platform, policy: 5, launchDigest, mnonce, ...changes });
  return concat(measurement, mnonce);
}

async function appraise(changes: Partial<AppraiseMeasurementOptions> = {}) {
  const expectedDigests = [{ name: 'web server', digest: launchDigest }];
  const blob = changes.blob ?? (await blobOf());
  return appraiseLaunchMeasurement({ blob, tik, policy: 5, platform, expectedDigests, ...changes });
}

const check = ({ checks }: Appraisal, id: string) => checks.find((each) => each.id === `measurement.${id}`);
const failed = (appraisal: Appraisal) => verdict(appraisal).failed.map(({ id }) => id);

describe('launch measurement', () => {
  test('before API 0.17 it does not cover context, API and build', async () => {
    const expected = await hmacSha256(tik, concat(u32le(5), launchDigest, mnonce));
    const old = { tik, policy: 5, launchDigest, mnonce, apiMajor: 0 };
    expect(await measureLaunch({ ...old, apiMinor: 16, buildId: 9 })).toEqual(expected);
    expect(await measureLaunch({ ...old, apiMinor: 16, buildId: 1 })).toEqual(expected);
    expect(await measureLaunch({ ...old, apiMinor: 17, buildId: 9 })).not.toEqual(expected);
    expect([16, 17].map((apiMinor) => bindsMeasurement({ apiMajor: 0, apiMinor }))).toEqual([false, true]);
    expect(bindsMeasurement({ apiMajor: 1, apiMinor: 0 })).toBe(true);
  });

  test.each([
    { apiMajor: 256 },
    { apiMinor: -1 },
    { buildId: 1.5 },
    { policy: 2 ** 32 },
    { launchDigest: new Uint8Array(48) },
    { mnonce: new Uint8Array(15) },
  ])('refuses to compute with %j', async (change) => {
    await expect(blobOf(change)).rejects.toThrow(InvalidArgumentError);
  });

  test.each([0, 32, 47, 49, 96])('a blob of %d bytes is malformed', (length) => {
    expect(() => parseLaunchMeasurement(new Uint8Array(length))).toThrow(MalformedError);
  });
});

describe('appraising a launch measurement', () => {
  test('accepts the expected launch and says which digest it was', async () => {
    const appraisal = await appraise({
      expectedDigests: [
        { name: 'old web server', digest: new Uint8Array(32) },
        { name: 'web server', digest: launchDigest },
      ],
    });
    expect(verdict(appraisal).word).toBe('accepted');
    expect(check(appraisal, 'digest')?.found).toContain('web server (0303');
    expect(check(appraisal, 'build')?.status).toBe('not-asked');
    expect(check(appraisal, 'minimum-api')?.status).toBe('not-asked');
  });

  test('refuses any one changed byte', async () => {
    const blob = await blobOf();
    await fc.assert(
      fc.asyncProperty(byteChange(blob.length), async (change) => {
        expect(failed(await appraise({ blob: changed(blob, change) }))).toEqual(['measurement.digest']);
      }),
      { numRuns: 300 },
    );
  });

  test.each([0, 32, 47, 49, 96])('refuses %d bytes and reports every check', async (length) => {
    const appraisal = await appraise({ blob: new Uint8Array(length) });
    expect(failed(appraisal)).toEqual(['measurement.form', 'measurement.digest']);
    expect(appraisal.checks).toHaveLength(6);
  });

  test.each<[string, Partial<AppraiseMeasurementOptions>]>([
    ['of another session', { tik: new Uint8Array(16) }],
    ['under another policy', { policy: 4 }],
    ['of another launch', { expectedDigests: [{ name: 'other', digest: new Uint8Array(32) }] }],
    ['with nothing to compare with', { expectedDigests: [] }],
    ['from another build than the host says', { platform: { ...platform, buildId: 25 } }],
    ['from another API than the host says', { platform: { ...platform, apiMinor: 54 } }],
  ])('refuses a measurement %s', async (_what, change) => {
    expect(failed(await appraise(change))).toEqual(['measurement.digest']);
  });

  test('refuses another build than the expected one', async () => {
    expect(failed(await appraise({ expectedBuild: 24 }))).toEqual([]);
    expect(failed(await appraise({ expectedBuild: 25 }))).toEqual(['measurement.build']);
  });

  test('refuses firmware older than the owner asks', async () => {
    expect(failed(await appraise({ minimumApi: { apiMajor: 1, apiMinor: 55 } }))).toEqual([]);
    const newer = { minimumApi: { apiMajor: 1, apiMinor: 56 } };
    expect(failed(await appraise(newer))).toEqual(['measurement.minimum-api']);
  });

  test('refuses firmware older than the policy asks', async () => {
    const [enough, tooMuch] = [0x37010005, 0x38010005];
    expect(failed(await appraise({ policy: enough, blob: await blobOf({ policy: enough }) }))).toEqual([]);
    const refused = await appraise({ policy: tooMuch, blob: await blobOf({ policy: tooMuch }) });
    expect(failed(refused)).toEqual(['measurement.policy-api']);
    expect(check(refused, 'policy-api')).toMatchObject({ expected: 'API 1.56 or later', found: 'API 1.55' });
  });

  describe('from firmware before API 0.17', () => {
    const old = { apiMajor: 0, apiMinor: 16, buildId: 9 };

    test('is refused unless allowed', async () => {
      const blob = await blobOf(old);
      expect(failed(await appraise({ blob, platform: old }))).toEqual(['measurement.api-binding']);
      expect(failed(await appraise({ blob, platform: old, allowApiBelow017: true }))).toEqual([]);
    });

    test('cannot show which build it is', async () => {
      const options = { platform: old, blob: await blobOf(old), allowApiBelow017: true, expectedBuild: 9 };
      const appraisal = await appraise(options);
      expect(failed(appraisal)).toEqual(['measurement.build']);
      expect(check(appraisal, 'build')?.found).toContain('not bound');
    });

    test('does not pass for a newer one, nor a newer one for it', async () => {
      const platformNow = { apiMajor: 0, apiMinor: 17, buildId: 9 };
      expect(failed(await appraise({ blob: await blobOf(old), platform: platformNow }))).toEqual([
        'measurement.digest',
      ]);
      const pretended = { blob: await blobOf(platformNow), platform: old, allowApiBelow017: true };
      expect(failed(await appraise(pretended))).toEqual(['measurement.digest']);
    });
  });

  test('carries the root that the platform’s chain led to', async () => {
    const root = { name: 'Vouchsafe Development, Milan', kind: 'development', fingerprint: '00' } as const;
    expect((await appraise({ root })).root).toEqual(root);
  });

  test('an owner’s own mistake is not a refusal', async () => {
    const expectedDigests = [{ name: 'SNP digest', digest: new Uint8Array(48) }];
    await expect(appraise({ expectedDigests })).rejects.toThrow(InvalidArgumentError);
  });
});
