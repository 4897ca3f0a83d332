import { type Appraisal, type Check, verdict } from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import type { PreLaunchClaims, SnpClaims } from '../attestation/claims.js';
import type { ReferenceDocument } from '../reference-values/document.js';
import { hex, someClaims, testNow } from '../testing/questions.js';
import { someDocument } from '../testing/reference-values.js';
import { cedarReleasePolicy } from './cedar/release-policy.js';
import { type DecisionInput, decide } from './decision.js';
import { defaultDemands, demandChecks, demandedClaims } from './demands.js';
import type { ReleasePolicy } from './release-policy.js';

const permit: ReleasePolicy = cedarReleasePolicy('@id("all") permit (principal, action, resource);');
const check = (id: string, status: Check['status'], found = 'this'): Check => ({
  id,
  title: id,
  kind: 'authenticity',
  status,
  ...(status === 'not-asked' ? {} : { expected: 'that', found }),
});
const evidence = (changes: readonly Check[] = [], root = someClaims().root): Appraisal => {
  const checks = [check('report.signature', 'pass'), check('report.data', 'pass')];
  const others = checks.filter(({ id }) => !changes.some((each) => each.id === id));
  return { subject: 'report', ...(root === undefined ? {} : { root }), checks: [...others, ...changes] };
};

const decided = (changes: Partial<DecisionInput> = {}) =>
  decide({
    claims: someClaims(),
    appraisal: evidence(),
    referenceDocuments: [someDocument()],
    releasePolicy: permit,
    resource: { repository: 'app', type: 'key', tag: 'disk' },
    now: testNow,
    ...changes,
  });
const claims = (changes: Partial<SnpClaims>) => ({ claims: someClaims(changes) });
const documents = (...referenceDocuments: ReferenceDocument[]) => ({ referenceDocuments });
const day = (text: string) => Date.parse(`${text}T00:00:00Z`);

describe('a decision', () => {
  it('is yes where every demand is met and a rule permits', async () => {
    const decision = await decided();
    expect(decision).toMatchObject({
      allowed: true,
      rule: 'all',
      denials: [],
      references: ['releases@example.org/web'],
      policy: permit.id,
    });
    expect(verdict(decision.demands)).toMatchObject({ accepted: true });
    expect(decision.demands.checks.map(({ id, status }) => [id, status])).toEqual([
      ['demand.evidence', 'pass'],
      ['demand.root', 'pass'],
      ['demand.report-data', 'pass'],
      ['demand.vmpl', 'pass'],
      ['demand.revocation', 'pass'],
      ['demand.measurement', 'pass'],
      ['demand.reference-validity', 'pass'],
      ['demand.id-key', 'not-asked'],
      ['demand.host-data', 'not-asked'],
      ['demand.tcb', 'not-asked'],
    ]);
  });

  it('is no without a release policy, and says how to set one', async () => {
    expect(await decided({ releasePolicy: undefined })).toMatchObject({
      allowed: false,
      rule: 'deny-by-default',
      denials: [{ rule: 'deny-by-default', claim: 'resource', found: 'none for app/key/disk' }],
    });
  });

  it('is no where no rule permits, though every demand is met', async () => {
    const releasePolicy = cedarReleasePolicy(
      '@id("x") permit (principal is SnpGuest, action, resource) when { principal.vmpl == 3 };',
    );
    const decision = await decided({ releasePolicy });
    expect(decision).toMatchObject({
      allowed: false,
      rule: 'deny-by-default',
      denials: [{ rule: 'x', claim: 'vmpl' }],
    });
    expect(verdict(decision.demands).accepted).toBe(true);
  });

  it('names everything that stands in the way at once', async () => {
    const { allowed, rule, denials } = await decided({
      ...claims({ vmpl: 2, measurement: hex(48, 'b') }),
      appraisal: evidence([check('report.signature', 'fail', 'the signature is not valid')]),
      releasePolicy: undefined,
    });
    expect({ allowed, rule }).toEqual({ allowed: false, rule: 'report.signature' });
    expect(denials.map((each) => each.rule)).toEqual([
      'report.signature',
      'demand.vmpl',
      'demand.measurement',
      'demand.reference-validity',
      'deny-by-default',
    ]);
    expect(denials[0]).toEqual({
      rule: 'report.signature',
      claim: 'report.signature',
      expected: 'that',
      found: 'the signature is not valid',
    });
  });

  it('is plain JSON, for the record', async () => {
    const decision = await decided({ ...claims({ vmpl: 2 }), releasePolicy: undefined });
    expect(JSON.parse(JSON.stringify(decision))).toEqual(decision);
  });

  it('has a claim for every demand', () => {
    expect(Object.keys(demandedClaims)).toEqual(Object.keys(demandChecks));
  });
});

describe('a guest is refused', () => {
  const development = {
    name: 'Vouchsafe Development, Milan',
    kind: 'development',
    fingerprint: hex(32, '7'),
  } as const;

  it.each<[string, string, Partial<DecisionInput>]>([
    ['whose evidence was not checked', 'demand.evidence', { appraisal: { ...evidence(), checks: [] } }],
    ['whose evidence failed', 'vek.tcb', { appraisal: evidence([check('vek.tcb', 'fail')]) }],
    ['that leads to no root', 'demand.root', { appraisal: { subject: 'report', checks: evidence().checks } }],
    ['of a software root, by AMD’s broker', 'demand.root', { appraisal: evidence([], development) }],
    [
      'of AMD’s root, by a development broker',
      'demand.root',
      { demands: { ...defaultDemands, root: 'development' } },
    ],
    [
      'whose report data was not compared',
      'demand.report-data',
      { appraisal: evidence([check('report.data', 'not-asked')]) },
    ],
    [
      'whose report data nobody knows of',
      'demand.report-data',
      { appraisal: { ...evidence(), checks: [check('report.signature', 'pass')] } },
    ],
    ['whose report data is another', 'report.data', { appraisal: evidence([check('report.data', 'fail')]) }],
    ['at another VMPL', 'demand.vmpl', claims({ vmpl: 1 })],
    ['whose host asked for the report', 'demand.vmpl', claims({ vmpl: 0xffff_ffff })],
    ['whose signing key was revoked', 'demand.revocation', claims({ revocation: { status: 'revoked' } })],
    ['about whom no list was asked', 'demand.revocation', claims({ revocation: { status: 'unknown' } })],
    [
      'whose list is older than the grace',
      'demand.revocation',
      claims({ revocation: { status: 'good', asOf: new Date(testNow - 86_400_001).toISOString() } }),
    ],
    ['whose list has no date', 'demand.revocation', claims({ revocation: { status: 'good' } })],
    ['whose measurement is unknown', 'demand.measurement', claims({ measurement: hex(48, 'b') })],
    ['where no reference value is known', 'demand.measurement', documents()],
    [
      'known by a version that was replaced',
      'demand.measurement',
      documents(someDocument(), someDocument({ version: 8, measurements: [{ value: hex(48, 'b') }] })),
    ],
    [
      'known by a document that has ended',
      'demand.reference-validity',
      { now: day('2026-12-02'), ...claims({ revocation: { status: 'good', asOf: '2026-12-02T00:00:00Z' } }) },
    ],
    [
      'known by a document that has not begun',
      'demand.reference-validity',
      documents(someDocument({ notBefore: '2026-11-20T00:00:00Z' })),
    ],
    [
      'known by a value that has ended',
      'demand.reference-validity',
      documents(someDocument({ measurements: [{ value: hex(48, 'a'), notAfter: '2026-11-10T00:00:00Z' }] })),
    ],
    [
      'known by a value that has not begun',
      'demand.reference-validity',
      documents(someDocument({ measurements: [{ value: hex(48, 'a'), notBefore: '2026-11-20T00:00:00Z' }] })),
    ],
    [
      'with another ID key',
      'demand.id-key',
      documents(someDocument({ idKeyDigests: [{ value: hex(48, '2') }] })),
    ],
    [
      'without an author key',
      'demand.id-key',
      documents(someDocument({ authorKeyDigests: [{ value: hex(48, '2') }] })),
    ],
    [
      'with an ID key that has ended',
      'demand.id-key',
      documents(someDocument({ idKeyDigests: [{ value: hex(48, '1'), notAfter: '2026-11-10T00:00:00Z' }] })),
    ],
    [
      'with other host data',
      'demand.host-data',
      documents(someDocument({ hostData: [{ value: hex(32, '6') }] })),
    ],
    ['below a floor', 'demand.tcb', documents(someDocument(), floor({ snp: 25 }))],
    [
      'below a floor of another document',
      'demand.tcb',
      documents(someDocument(), floor({ snp: 1 }), floor({ microcode: 220 }, { name: 'other' })),
    ],
    ['without a component of the floor', 'demand.tcb', documents(someDocument(), floor({ fmc: 0 }))],
    [
      'of an unknown product line, where there are floors',
      'demand.tcb',
      { claims: withoutLine(), ...documents(someDocument(), floor({ snp: 1 }, {}, 'Genoa')) },
    ],
    [
      'where the floor’s document has ended',
      'demand.tcb',
      documents(someDocument(), floor({ snp: 1 }, { notAfter: '2026-11-10T00:00:00Z' })),
    ],
  ])('%s: %s', async (_, rule, changes) => {
    const decision = await decided(changes);
    expect(decision).toMatchObject({ allowed: false, rule });
    const failed = [...verdict(decision.demands).failed, ...verdict(changes.appraisal ?? evidence()).failed];
    expect(failed.map(({ id }) => id)).toContain(rule);
    expect(decision.denials.length).toBeGreaterThan(0);
    for (const { expected, found } of decision.denials) expect([expected, found]).not.toContain('');
  });

  it('whose report data is another, at the demand as well as in the evidence', async () => {
    const { demands } = await decided({ appraisal: evidence([check('report.data', 'fail')]) });
    const failed = verdict(demands).failed.map(({ id }) => id);
    expect(failed).toEqual(['demand.evidence', 'demand.report-data']);
  });

  it.each<[string, Partial<DecisionInput>]>([
    [
      'old and new measurement stand side by side',
      documents(someDocument({ measurements: [{ value: hex(48, 'b') }, { value: hex(48, 'a') }] })),
    ],
    [
      'the next version has not begun',
      documents(
        someDocument(),
        someDocument({
          version: 8,
          notBefore: '2026-11-20T00:00:00Z',
          measurements: [{ value: hex(48, 'b') }],
        }),
      ),
    ],
    [
      'another name’s version is higher',
      documents(
        someDocument(),
        someDocument({ name: 'other', version: 99, measurements: [{ value: hex(48, 'b') }] }),
      ),
    ],
    [
      'one of two documents fits wholly',
      documents(someDocument({ hostData: [{ value: hex(32, '6') }] }), someDocument({ name: 'other' })),
    ],
    [
      'ID key and host data are those of the image',
      documents(
        someDocument({
          idKeyDigests: [{ value: hex(48, '2') }, { value: hex(48, '1') }],
          hostData: [{ value: hex(32, '5') }],
        }),
      ),
    ],
    ['the floors are reached', documents(someDocument(), floor({ bootloader: 4, snp: 24, microcode: 219 }))],
    ['the floor is of another product line', documents(someDocument(), floor({ snp: 99 }, {}, 'Genoa'))],
    [
      'the floor has an end of its own',
      documents(
        someDocument(),
        someDocument({
          name: 'floors',
          measurements: undefined,
          tcbFloors: [{ productLine: 'Milan', reported: { snp: 99 }, notAfter: '2026-11-10T00:00:00Z' }],
        }),
      ),
    ],
    [
      'the last list is within the grace',
      claims({ revocation: { status: 'good', asOf: new Date(testNow - 86_400_000).toISOString() } }),
    ],
    [
      'the first moment of the document has come',
      { now: day('2026-11-01'), ...claims({ revocation: { status: 'good', asOf: '2026-11-01T00:00:00Z' } }) },
    ],
    [
      'the last moment of the document has come',
      { now: day('2026-12-01'), ...claims({ revocation: { status: 'good', asOf: '2026-12-01T00:00:00Z' } }) },
    ],
    [
      'revocation is skipped by name',
      {
        ...claims({ revocation: { status: 'unknown' } }),
        demands: { ...defaultDemands, revocationGrace: 'skip' },
      },
    ],
    ['another VMPL is demanded by name', { ...claims({ vmpl: 2 }), demands: { ...defaultDemands, vmpl: 2 } }],
    [
      'any measurement is accepted by name',
      { ...documents(), demands: { ...defaultDemands, measurement: 'any' } },
    ],
    [
      'a development root comes to a development broker',
      { appraisal: evidence([], development), demands: { ...defaultDemands, root: 'development' } },
    ],
  ])('by nobody where %s', async (_, changes) => {
    expect(await decided(changes)).toMatchObject({ allowed: true, rule: 'all', denials: [] });
  });
});

describe('a denial names the nearest known reference value:', () => {
  const nearestOf = async (changes: Partial<DecisionInput>, rule: string) =>
    (await decided(changes)).denials.find((each) => each.rule === rule)?.nearest;
  const unknown = claims({ measurement: hex(48, 'b') });

  it.each<[string, Partial<DecisionInput>, string, string | undefined]>([
    ['none', { ...unknown, ...documents() }, 'demand.measurement', undefined],
    [
      'the only one',
      unknown,
      'demand.measurement',
      `${hex(48, 'a')}, releases@example.org/web 7 (web server 12)`,
    ],
    [
      'that of the image whose ID key the guest has',
      {
        ...unknown,
        ...documents(
          someDocument({ version: 9, name: 'other' }),
          someDocument({ measurements: [{ value: hex(48, 'e') }], idKeyDigests: [{ value: hex(48, '1') }] }),
        ),
      },
      'demand.measurement',
      `${hex(48, 'e')}, releases@example.org/web 7; the guest has its ID key`,
    ],
    [
      'one that was mistyped',
      {
        ...claims({ measurement: `${hex(47, 'b')}ba` }),
        ...documents(someDocument(), someDocument({ name: 'typo', measurements: [{ value: hex(48, 'b') }] })),
      },
      'demand.measurement',
      `${hex(48, 'b')}, releases@example.org/typo 7, differs in 1 of 96 digits: was it mistyped?`,
    ],
    [
      'one that was replaced',
      {
        ...unknown,
        ...documents(
          someDocument({ version: 6, measurements: [{ value: hex(48, 'b'), label: 'web server 11' }] }),
          someDocument(),
        ),
      },
      'demand.measurement',
      'releases@example.org/web 6 (web server 11) knew it; a newer version replaced that',
    ],
    [
      'one that has not begun',
      documents(someDocument({ notBefore: '2026-11-20T00:00:00Z' })),
      'demand.reference-validity',
      'releases@example.org/web 7 (web server 12), which begins 2026-11-20T00:00:00Z knows it',
    ],
    [
      'an ID key',
      documents(someDocument({ idKeyDigests: [{ value: hex(48, '2'), label: 'release key' }] })),
      'demand.id-key',
      `${hex(48, '2')}, releases@example.org/web 7 (release key); the guest has its measurement`,
    ],
    [
      'a floor',
      documents(someDocument(), floor({ snp: 25 })),
      'demand.tcb',
      'Milan at least snp 25, releases@example.org/floors 7',
    ],
  ])('%s', async (_, changes, rule, nearest) => {
    expect(await nearestOf(changes, rule)).toBe(nearest);
  });

  it('for the rules of the release policy, too', async () => {
    const releasePolicy = cedarReleasePolicy(`@id("only") permit (principal is SnpGuest, action, resource)
      when { principal.measurement == "${hex(48, 'b')}" && principal.tcb.reported.snp >= 30 };`);
    const { denials } = await decided({ releasePolicy, ...documents(someDocument(), floor({ snp: 20 })) });
    expect(denials).toEqual([
      {
        rule: 'only',
        claim: 'measurement',
        expected: hex(48, 'b'),
        found: hex(48, 'a'),
        nearest: 'releases@example.org/web 7 (web server 12) knows it',
      },
      {
        rule: 'only',
        claim: 'tcb.reported.snp',
        expected: '30 or more',
        found: '24',
        nearest: 'Milan at least snp 20, releases@example.org/floors 7',
      },
    ]);
  });
});

describe('the reference values that a guest fits', () => {
  it.each<[string, readonly ReferenceDocument[], readonly string[]]>([
    [
      'all of their lists',
      [someDocument({ hostData: [{ value: hex(32, '5') }] })],
      ['releases@example.org/web'],
    ],
    ['but for their host data', [someDocument({ hostData: [{ value: hex(32, '6') }] })], []],
    ['floors alone', [floor({ snp: 24 })], ['releases@example.org/floors']],
    ['no floor of its product line', [floor({ snp: 24 }, {}, 'Genoa')], []],
    ['a floor that it is below', [floor({ snp: 25 })], []],
    [
      'an ID key alone',
      [someDocument({ measurements: undefined, idKeyDigests: [{ value: hex(48, '1') }] })],
      ['releases@example.org/web'],
    ],
    ['but that have ended', [someDocument({ notAfter: '2026-11-10T00:00:00Z' })], []],
  ])('are named: %s', async (_, referenceDocuments, references) => {
    expect((await decided({ referenceDocuments })).references).toEqual(references);
  });
});

describe('a launch before the guest ran', () => {
  const launched: PreLaunchClaims = {
    tee: 'sev-es',
    api: { major: 0, minor: 24 },
    build: 13,
    launch: 'web server 12',
    policy: {
      noDebug: true,
      noKeySharing: true,
      encryptedState: true,
      noSend: true,
      domain: false,
      sev: true,
    },
  };

  it('is held to its evidence, its root and the owner’s launches', async () => {
    const decision = await decided({ claims: launched, ...documents() });
    expect(decision).toMatchObject({ allowed: true, references: [] });
    const asked = decision.demands.checks.filter(({ status }) => status === 'pass');
    expect(asked.map(({ id }) => id)).toEqual(['demand.evidence', 'demand.root', 'demand.measurement']);
  });

  it('is refused when its measurement was of no launch', async () => {
    const { launch: _launch, ...unmeasured } = launched;
    expect(await decided({ claims: unmeasured })).toMatchObject({
      allowed: false,
      rule: 'demand.measurement',
    });
    const failed = evidence([check('launch.measurement', 'fail')]);
    expect(await decided({ claims: launched, appraisal: failed })).toMatchObject({
      allowed: false,
      rule: 'launch.measurement',
    });
  });
});

function withoutLine(): SnpClaims {
  const { productLine: _line, ...others } = someClaims();
  return others;
}

function floor(
  reported: NonNullable<ReferenceDocument['tcbFloors']>[number]['reported'],
  changes: Partial<ReferenceDocument> = {},
  productLine: 'Milan' | 'Genoa' = 'Milan',
): ReferenceDocument {
  const tcbFloors = [{ productLine, reported }];
  return someDocument({ name: 'floors', measurements: undefined, tcbFloors, ...changes });
}
