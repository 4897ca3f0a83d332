import { verdict } from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import type { SnpClaims } from '../attestation/claims.js';
import { check, claims, decided, documents, evidence, floor } from '../testing/decisions.js';
import { hex, someClaims, testNow } from '../testing/questions.js';
import { someDocument } from '../testing/reference-values.js';
import type { DecisionInput } from './decision.js';
import { defaultDemands } from './demands.js';

const day = (text: string) => Date.parse(`${text}T00:00:00Z`);

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

function withoutLine(): SnpClaims {
  const { productLine: _line, ...others } = someClaims();
  return others;
}
