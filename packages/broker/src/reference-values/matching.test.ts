import { describe, expect, it } from 'vitest';
import { cedarReleasePolicy } from '../policy/cedar/release-policy.js';
import type { DecisionInput } from '../policy/decision.js';
import { claims, decided, documents, floor } from '../testing/decisions.js';
import { hex } from '../testing/questions.js';
import { someDocument } from '../testing/reference-values.js';
import type { ReferenceDocument } from './document.js';

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
