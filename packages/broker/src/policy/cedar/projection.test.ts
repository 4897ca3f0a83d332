import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { SnpClaims } from '../../attestation/claims.js';
import { hex, someClaims, someQuestion } from '../../testing/questions.js';
import { withCedar } from './engine.js';
import { releaseRequest } from './entities.js';
import { CedarPolicySet } from './policy-set.js';
import { projectionOf } from './projection.js';
import { releaseSchema } from './schema.js';

const conditions = [
  'principal.vmpl == 0',
  'principal.tcb.reported.snp >= 24',
  'principal.tcb.reported has fmc && principal.tcb.reported.fmc >= 1',
  'principal has chipId && principal.chipId like "cc*"',
  'principal has root && principal.root.kind == "amd"',
  'principal has root.name',
  'principal.tcb.reported == principal.tcb.launch',
  'principal.tcb == {reported: principal.tcb.current, committed: principal.tcb.current, current: principal.tcb.current, launch: principal.tcb.current}',
  '(if principal.vmpl == 0 then principal.tcb.launch else principal.tcb.current).snp == 24',
  'principal.revocation has asOf && principal.revocation.asOf <= context.now',
  'principal.hasTag("aa.toml") && principal.getTag("aa.toml") == "x = 1"',
  'principal.hasTag(resource.tag)',
  'principal.references.contains("a/b")',
  'resource in Repository::"app"',
  'resource == Resource::"app/key/disk"',
  'resource.repository == "app" && resource.tag == "disk"',
  'principal == SnpGuest::"2222222222222222222222222222222222222222222222222222222222222222"',
  'context.otherMachines < 3',
  'context == {now: context.now, otherMachines: 0}',
  'principal has mitigations && principal.mitigations.current.contains(0)',
];

const { chipId: _chip, root: _root, ...bare } = someClaims();
const guests: readonly SnpClaims[] = [
  someClaims(),
  { ...bare, vmpl: 1, revocation: { status: 'unknown' } },
  someClaims({
    mitigations: { launch: [], current: [0] },
    initData: { algorithm: 'sha256', digest: hex(32, '5'), data: { 'aa.toml': 'x = 1', disk: '' } },
    tcb: { ...someClaims().tcb, reported: { fmc: 1, bootloader: 4, tee: 0, snp: 24, microcode: 219 } },
  }),
];

describe('a question without what no rule speaks of', () => {
  it('has the same answer', () => {
    const rule = fc.record({
      effect: fc.constantFrom('permit', 'permit', 'forbid'),
      body: fc.array(fc.constantFrom(...conditions), { minLength: 1, maxLength: 3 }),
      joint: fc.constantFrom(' && ', ' || '),
      clause: fc.constantFrom('when', 'unless'),
      scope: fc.constantFrom(
        'resource',
        'resource in Repository::"app"',
        'resource == Resource::"app/key/disk"',
      ),
    });
    const question = fc.record({
      claims: fc.constantFrom(...guests),
      references: fc.constantFrom([], ['a/b']),
      otherMachines: fc.constantFrom(0, 3),
      resource: fc.constantFrom(
        { repository: 'app', type: 'key', tag: 'disk' },
        { repository: 'web', type: 'key', tag: 'disk' },
      ),
    });
    const property = fc.property(
      fc.array(rule, { minLength: 1, maxLength: 3 }),
      question,
      (rules, changes) => {
        const text = rules
          .map(
            ({ effect, body, joint, clause, scope }) =>
              `${effect} (principal is SnpGuest, action, ${scope}) ${clause} { (${body.join(`)${joint}(`)}) };`,
          )
          .join('\n');
        const request = releaseRequest(someQuestion(changes));
        const policies = CedarPolicySet.parse(text, releaseSchema);
        const staticPolicies = Object.fromEntries(policies.rules.map(({ id, text: rule }) => [id, rule]));
        const whole = withCedar((cedar) => cedar.isAuthorized({ ...request, policies: { staticPolicies } }));
        const answer = policies.ask(request);
        policies.close();
        expect(whole).toMatchObject({ type: 'success', response: { diagnostics: { errors: [] } } });
        const { decision, diagnostics } = (whole as Extract<typeof whole, { type: 'success' }>).response;
        expect(answer).toEqual({
          allowed: decision === 'allow',
          rules: expect.arrayContaining(diagnostics.reason),
          errors: [],
        });
      },
    );
    fc.assert(property, { numRuns: 40 });
  });

  it.each(conditions)('has the same answer to each condition alone: %s', (condition) => {
    const policies = CedarPolicySet.parse(
      `permit (principal is SnpGuest, action, resource) when { ${condition} };`,
      releaseSchema,
    );
    const staticPolicies = Object.fromEntries(policies.rules.map(({ id, text }) => [id, text]));
    const answers = guests.map((claims) => {
      const request = releaseRequest(someQuestion({ claims, references: ['a/b'] }));
      const whole = withCedar((cedar) => cedar.isAuthorized({ ...request, policies: { staticPolicies } }));
      const expected = whole.type === 'success' && whole.response.decision === 'allow';
      expect(policies.ask(request).allowed).toBe(expected);
      return expected;
    });
    policies.close();
    expect(answers).toContain(true);
  });

  it('holds no more than they speak of', () => {
    const text =
      'permit (principal is SnpGuest, action, resource) when { principal.tcb.reported.snp >= 24 };';
    const policies = CedarPolicySet.parse(text, releaseSchema);
    const { project } = projectionOf(policies.rules.map(({ json }) => json));
    const { entities, context } = project(releaseRequest(someQuestion({ claims: guests[2]! })));
    expect(context).toEqual({});
    expect(entities).toEqual([
      { uid: { type: 'SnpGuest', id: hex(32, '2') }, attrs: { tcb: { reported: { snp: 24 } } }, parents: [] },
    ]);
    policies.close();
  });

  it.each([
    [true, 'when { context.otherMachines < 3 }'],
    [true, 'unless { 3 <= context["otherMachines"] }'],
    [true, 'when { context has otherMachines }'],
    [true, 'when { context == {now: context.now, otherMachines: 0} }'],
    [true, 'when { true || (if principal.vmpl == 0 then context.otherMachines else 2) < 3 }'],
    [false, 'when { context.now > datetime("2024-01-01") }'],
    [false, 'when { principal.measurement == "otherMachines" }'],
    [false, ''],
  ])('counts machines: %s, %s', (countsMachines, condition) => {
    const policies = CedarPolicySet.parse(
      `permit (principal is SnpGuest, action, resource) ${condition};`,
      releaseSchema,
    );
    expect(policies.reads('context', 'otherMachines')).toBe(countsMachines);
    policies.close();
  });
});
