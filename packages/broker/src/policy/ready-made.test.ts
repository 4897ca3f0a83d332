import { InvalidArgumentError } from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import type { SnpClaims } from '../attestation/claims.js';
import { hex, someClaims, someQuestion, testNow } from '../testing/questions.js';
import { cedarReleasePolicy } from './cedar/release-policy.js';
import { type PolicyWishes, readyMadePolicy } from './ready-made.js';
import type { PolicyQuestion } from './release-policy.js';

const someone: PolicyWishes = { idKeyDigests: [hex(48, '1')] };
const { chipId: _chip, idKeyDigest: _key, productLine: _line, ...bare } = someClaims();
const unnamed: SnpClaims = bare;

async function ask(wishes: PolicyWishes, changes: Partial<PolicyQuestion> = {}) {
  const policy = cedarReleasePolicy(readyMadePolicy(wishes));
  expect(policy.warnings).toEqual([]);
  const answer = await policy.ask(someQuestion(changes));
  await policy.close();
  return answer;
}

const withSnp = (snp: number): SnpClaims =>
  someClaims({ tcb: { ...someClaims().tcb, reported: { ...someClaims().tcb.reported, snp } } });
const day = (text: string) => Date.parse(`${text}T00:00:00Z`);

describe('a ready-made policy', () => {
  it.each<[string, PolicyWishes, Partial<PolicyQuestion>, Partial<PolicyQuestion>, string]>([
    [
      'only these digests',
      { measurements: [hex(48, 'b'), hex(48, 'a').toUpperCase()] },
      {},
      { claims: someClaims({ measurement: hex(48, 'c') }) },
      'measurement',
    ],
    [
      'these reference values',
      { references: ['a/b', 'c/d'] },
      { references: ['c/d'] },
      { references: ['e/f'] },
      'references',
    ],
    [
      'TCB at least',
      { minimumTcb: { bootloader: 4, snp: 24 } },
      {},
      { claims: withSnp(23) },
      'tcb.reported.snp',
    ],
    [
      'an FMC at least',
      { minimumTcb: { fmc: 1 } },
      {
        claims: someClaims({
          tcb: { ...someClaims().tcb, reported: { ...someClaims().tcb.reported, fmc: 1 } },
        }),
      },
      {},
      'tcb.reported.fmc',
    ],
    [
      'product lines',
      { productLines: ['Genoa', 'Milan'] },
      {},
      { claims: someClaims({ productLine: 'Turin' }) },
      'productLine',
    ],
    ['a known product line', { productLines: ['Milan'] }, {}, { claims: unnamed }, 'productLine'],
    [
      'this owner’s ID key',
      someone,
      {},
      { claims: someClaims({ idKeyDigest: hex(48, '2') }) },
      'idKeyDigest',
    ],
    ['any ID key', someone, {}, { claims: unnamed }, 'idKeyDigest'],
    [
      'an author key',
      { authorKeyDigests: [hex(48, '3')] },
      { claims: someClaims({ authorKeyDigest: hex(48, '3') }) },
      {},
      'authorKeyDigest',
    ],
    [
      'chips allowed',
      { chips: [hex(64, 'c')] },
      {},
      { claims: someClaims({ chipId: hex(64, 'd') }) },
      'chipId',
    ],
    [
      'chips of Turin',
      { chips: [hex(8, 'c')] },
      { claims: someClaims({ chipId: hex(8, 'c').padEnd(128, '0') }) },
      {},
      'chipId',
    ],
    ['chips allowed, of a masked one', { chips: [hex(64, 'c')] }, {}, { claims: unnamed }, 'chipId'],
    [
      'chips denied',
      { ...someone, deniedChips: [hex(64, 'e')] },
      {},
      { claims: someClaims({ chipId: hex(64, 'e') }) },
      'chipId',
    ],
    [
      'chips denied, of a masked one',
      { productLines: ['Milan'], deniedChips: [hex(64, 'e')] },
      {},
      { claims: { ...unnamed, productLine: 'Milan' } },
      'chipId',
    ],
    ['not before', { notBefore: testNow }, {}, { now: testNow - 1 }, 'now'],
    ['not after', { notAfter: testNow }, {}, { now: testNow + 1 }, 'now'],
    ['at most three machines', { machines: 3 }, { otherMachines: 2 }, { otherMachines: 3 }, 'otherMachines'],
    ['machines of a masked chip', { machines: 3 }, {}, { claims: unnamed }, 'chipId'],
    [
      'one resource',
      { ...someone, resource: 'app/key/disk' },
      {},
      { resource: { repository: 'app', type: 'key', tag: 'other' } },
      'resource',
    ],
  ])('asks for %s', async (_, wishes, good, bad, claim) => {
    expect(await ask(wishes, good)).toEqual({ allowed: true, rules: ['ready-made'], denials: [] });
    const denied = await ask(wishes, bad);
    expect(denied.allowed).toBe(false);
    expect(denied.denials.map((each) => each.claim)).toEqual([claim]);
  });

  it('asks for everything at once, in text that people can read', async () => {
    const wishes: PolicyWishes = {
      measurements: [hex(48, 'a')],
      minimumTcb: { snp: 24 },
      idKeyDigests: [hex(48, '1')],
      deniedChips: [hex(64, 'e')],
      notBefore: day('2026-11-01'),
      notAfter: day('2027-01-01'),
      machines: 2,
      resource: 'app/key/disk',
    };
    expect((await ask(wishes)).allowed).toBe(true);
    expect(readyMadePolicy(wishes)).toBe(`@id("ready-made")
permit (principal is SnpGuest, action == Action::"release", resource == Resource::"app/key/disk")
when {
  ["${hex(48, 'a')}"].contains(principal.measurement) &&
  principal.tcb.reported.snp >= 24 &&
  principal has idKeyDigest &&
  ["${hex(48, '1')}"].contains(principal.idKeyDigest) &&
  principal has chipId &&
  context.now >= datetime("2026-11-01T00:00:00.000Z") &&
  context.now <= datetime("2027-01-01T00:00:00.000Z") &&
  context.otherMachines < 2
};

@id("denied-chips")
forbid (principal is SnpGuest, action == Action::"release", resource)
when {
  principal has chipId && ["${hex(64, 'e')}"].contains(principal.chipId)
};
`);
  });

  it('keeps what people name inside its quotes', async () => {
    const name = 'a"].containsAny(["b\\';
    expect((await ask({ references: [name] }, { references: [name] })).allowed).toBe(true);
    expect((await ask({ references: [name] }, { references: ['b'] })).allowed).toBe(false);
  });

  it.each<[string, PolicyWishes, RegExp]>([
    ['no wish', {}, /policy: no wish was given/],
    ['a resource alone', { resource: 'a/b/c' }, /no wish was given/],
    ['an empty list of digests', { measurements: [] }, /measurements: an empty list/],
    ['an empty list of references', { references: [] }, /references: an empty list/],
    ['an empty list of chips', { chips: [] }, /chips: an empty list/],
    ['no chip denied', { ...someone, deniedChips: [] }, /deniedChips: an empty list/],
    ['no product line', { productLines: [] }, /productLines: an empty list/],
    ['a product line that there is not', { productLines: ['Rome' as 'Milan'] }, /Rome is no product line/],
    ['a digest that is cut', { measurements: [hex(47, 'a')] }, /measurements: expected 48 bytes/],
    ['a digest that is no digest', { idKeyDigests: [hex(48, 'g')] }, /idKeyDigests: expected 48 bytes/],
    ['a digest of zeros', { idKeyDigests: [hex(48, '0')] }, /all zero stands for none/],
    ['a chip of another length', { chips: [hex(32, 'a')] }, /chips: expected 64 or 8 bytes/],
    ['a floor of nothing', { minimumTcb: {} }, /minimumTcb: names no component/],
    [
      'a floor beyond a byte',
      { minimumTcb: { snp: 256 } },
      /minimumTcb.snp: expected a whole number from 0 to 255/,
    ],
    ['no machine', { machines: 0 }, /machines: expected a whole number/],
    ['half a machine', { machines: 1.5 }, /machines: expected a whole number/],
    ['an end before its beginning', { notBefore: 2, notAfter: 1 }, /notAfter: is before notBefore/],
    ['no date', { notAfter: Number.NaN }, /notAfter: is not a date/],
    ['a resource that is none', { ...someone, resource: 'a/b' }, /resource: expected repository\/type\/tag/],
    ['text in another script', { references: ['ä/b'] }, /printable ASCII/],
  ])('is not made of %s', (_, wishes, message) => {
    expect(() => readyMadePolicy(wishes)).toThrow(InvalidArgumentError);
    expect(() => readyMadePolicy(wishes)).toThrow(message);
  });
});
