import { InvalidArgumentError } from '@vouchsafe/sev';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { PreLaunchClaims, SnpClaims } from '../../attestation/claims.js';
import { hex, someClaims, someQuestion } from '../../testing/questions.js';
import type { PolicyQuestion } from '../release-policy.js';
import { withCedar } from './engine.js';
import { releaseRequest } from './entities.js';
import { cedarReleasePolicy } from './release-policy.js';
import { releaseSchema } from './schema.js';

const withTcb = (reported: SnpClaims['tcb']['reported']) =>
  someClaims({ tcb: { ...someClaims().tcb, reported } });

function policyOf(text: string) {
  const policy = cedarReleasePolicy(text);
  onTestFinished(() => policy.close());
  return policy;
}

const ask = (text: string, changes: Partial<PolicyQuestion> = {}) =>
  policyOf(text).ask(someQuestion(changes));
const when = (conditions: string) =>
  `@id("rule") permit (principal is SnpGuest, action, resource) ${conditions};`;

/** Every optional claim is there, or none is. */
const full: SnpClaims = someClaims({
  authorKeyDigest: hex(48, '2'),
  mitigations: { launch: [0, 1, 3], current: [0, 63] },
  signer: { kind: 'VLEK', authorKeyEnabled: true, maskChipKey: false, operator: 'CN=cloud.example' },
  processor: { family: 25, model: 1, stepping: 1 },
  migrationAgent: hex(32, '9'),
  initData: { algorithm: 'sha256', digest: hex(32, '5'), data: { 'aa.toml': 'x = 1' } },
  guestKey: 'thumbprint',
  tcb: { ...someClaims().tcb, reported: { fmc: 1, bootloader: 4, tee: 0, snp: 24, microcode: 219 } },
});
const { root: _root, idKeyDigest: _key, productLine: _line, chipId: _chip, ...bare } = someClaims();
const least: SnpClaims = { ...bare, revocation: { status: 'unknown' }, vmpl: 0xffff_ffff };
const preLaunch: PreLaunchClaims = {
  tee: 'sev-es',
  root: { name: 'AMD, Naples', kind: 'amd', fingerprint: hex(32, '7') },
  api: { major: 0, minor: 24 },
  build: 13,
  launch: 'web server 12',
  measurement: hex(32, 'e'),
  chipId: hex(64, 'c'),
  policy: {
    noDebug: true,
    noKeySharing: true,
    encryptedState: true,
    noSend: true,
    domain: false,
    sev: true,
  },
};

describe('claims in Cedar', () => {
  it.each([
    ['every claim', full],
    ['the least', least],
    ['those of a launch', preLaunch],
  ])('fit the schema that policies are checked against: %s', (_, claims) => {
    const request = releaseRequest(someQuestion({ claims, references: ['a/b'] }));
    const call = {
      ...request,
      schema: releaseSchema,
      validateRequest: true,
      policies: { staticPolicies: '' },
    };
    expect(withCedar((cedar) => cedar.isAuthorized(call))).toMatchObject({
      type: 'success',
      response: { decision: 'deny', diagnostics: { errors: [] } },
    });
  });

  it.each([
    'principal.measurement == "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"',
    'principal.tcb.reported has fmc && principal.tcb.reported.fmc >= 1',
    'principal has mitigations && principal.mitigations.launch.containsAll([0, 3])',
    'principal.hasTag("aa.toml") && principal.getTag("aa.toml") == "x = 1"',
    'principal has initData && principal.initData.algorithm == "sha256"',
    'principal.revocation has asOf && principal.revocation.asOf <= context.now',
    'principal.signer has operator && principal.signer.operator like "CN=*"',
    'principal has root && principal.root.kind == "amd"',
    'principal.references.contains("releases@example.org/web")',
    'resource in Repository::"app" && resource == Resource::"app/key/disk" && resource.tag == "disk"',
  ])('can be asked for: %s', async (condition) => {
    const references = ['releases@example.org/web'];
    const answer = await ask(when(`when { ${condition} }`), { claims: full, references });
    expect(answer).toEqual({ allowed: true, rules: ['rule'], denials: [] });
  });

  it('of launches before the guest ran can be asked for, too', async () => {
    const rule = `permit (principal is PreLaunchGuest, action, resource)
      when { principal.policy.noDebug && principal has launch && principal.launch == "web server 12" };`;
    expect((await ask(rule, { claims: preLaunch })).allowed).toBe(true);
    expect(await ask(rule, { claims: { ...preLaunch, launch: 'another' } })).toMatchObject({
      allowed: false,
      denials: [{ rule: 'rule 1', claim: 'launch', expected: 'web server 12', found: 'another' }],
    });
    expect((await ask(rule)).allowed).toBe(false);
  });
});

describe('a release policy that is set', () => {
  it.each<[string, string, RegExp, RegExp?]>([
    ['no policy', 'permit (principal action);', /policy: line 1: .*unexpected token/],
    ['nothing', '', /has no rule/],
    ['a comment', '// permit everything', /has no rule/],
    [
      'a claim that is not known',
      when('when { principal.measurment == "x" }'),
      /rule: attribute `measurment`/,
      /measurement/,
    ],
    ['another type', when('when { principal.vmpl == "0" }'), /rule: .*types/s],
    ['a claim that may be absent', when('when { principal.chipId == "x" }'), /rule: .*chipId/, /has/],
    ['a tag that may be absent', when('when { principal.getTag("a") == "x" }'), /rule: .*tag/s],
    [
      'an action that is not known',
      'permit (principal, action == Action::"read", resource);',
      /Action::"read"/,
    ],
    ['a guest that is not known', 'permit (principal is TdxGuest, action, resource);', /TdxGuest/],
    [
      'a claim that some guests have not',
      'permit (principal, action, resource) when { principal.vmpl == 0 };',
      /rule 1: attribute `vmpl`/,
      /principal is SnpGuest/,
    ],
    ['a template', 'permit (principal == ?principal, action, resource);', /is a template/],
    ['one id for two rules', `${when('')}\n${when('')}`, /two rules have the id rule/],
  ])('is refused when it is %s', (_, text, message, hint) => {
    let refused: unknown;
    try {
      policyOf(text);
    } catch (error) {
      refused = error;
    }
    expect(refused).toBeInstanceOf(InvalidArgumentError);
    expect((refused as InvalidArgumentError).message).toMatch(message);
    if (hint !== undefined) expect((refused as InvalidArgumentError).hint).toMatch(hint);
  });

  it('warns of a rule that can never apply', () => {
    expect(policyOf(when('when { principal.vmpl == 0 && false }')).warnings).toEqual([
      expect.stringContaining('rule: '),
    ]);
    expect(policyOf(when('')).warnings).toEqual([]);
  });

  const deep = (count: number, open: string, close: string) =>
    `${open.repeat(count)}true${close.repeat(count)}`;
  // Without the limits, each of these ends Cedar for every policy: a trap inside WebAssembly.
  it.each<[string, string, RegExp]>([
    ['brackets', deep(5000, '(', ')'), /nested too deeply/],
    ['lists', `${deep(5000, '[', ']')}.isEmpty()`, /nested too deeply/],
    ['a chain of and', `true${' && true'.repeat(5000)}`, /too many operators/],
    ['a chain of or', `true${' || true'.repeat(5000)}`, /too many operators/],
    ['a sum', `1${' + 1'.repeat(5000)} == 2`, /too many operators/],
    ['conditionals', `${'if true then true else '.repeat(5000)}true`, /too many operators/],
    ['a path', `context${'.a'.repeat(5000)} == 1`, /too long a path/],
    ['a path over lines', `context${' .\n a'.repeat(5000)} == 1`, /too long a path/],
    ['bytes', `"${'x'.repeat(1_048_576)}" == "x"`, /too many bytes/],
  ])('is refused when it has too much of %s', (_, condition, message) => {
    expect(() => policyOf(when(`when { ${condition} }`))).toThrow(message);
  });

  it.each([
    ['brackets', deep(22, '(', ')')],
    ['operators', `true${' && true'.repeat(63)}`],
    ['both, over and over', `${'(true && '.repeat(22)}true${')'.repeat(22)}${' || true'.repeat(40)}`],
    [
      'a list',
      `[${Array.from({ length: 5000 }, (_, i) => `"${i}"`).join(', ')}].contains(principal.measurement) || true`,
    ],
  ])('may have as much as this of %s', async (_, condition) => {
    expect((await ask(when(`when { ${condition} }`))).allowed).toBe(true);
  });

  it('does not count what stands in text and comments', async () => {
    const text = `// ${'('.repeat(100)}\n${when(`when { principal.measurement != "${'('.repeat(100)}" }`)}`;
    expect((await ask(text)).allowed).toBe(true);
  });

  it('answers on after Cedar was lost', async () => {
    const policy = policyOf(when('when { principal.vmpl == 0 }'));
    expect((await policy.ask(someQuestion())).allowed).toBe(true);
    const text = `permit (principal, action, resource) when { ${deep(5000, '(', ')')} };`;
    expect(() => withCedar((cedar) => cedar.policyToJson(text))).toThrow(
      'Cedar: the policy is too much for it',
    );
    expect((await policy.ask(someQuestion())).allowed).toBe(true);
    expect((await policy.ask(someQuestion({ claims: someClaims({ vmpl: 1 }) }))).allowed).toBe(false);
  });

  it('gives its place inside Cedar to the next when it is closed', async () => {
    const first = policyOf(when('when { principal.vmpl == 0 }'));
    expect((await first.ask(someQuestion())).allowed).toBe(true);
    await first.close();
    const second = policyOf(when('when { principal.vmpl == 1 }'));
    expect((await second.ask(someQuestion())).allowed).toBe(false);
    await expect(first.ask(someQuestion())).rejects.toThrow('was closed');
  });
});

describe('a denial', () => {
  const shown = async (conditions: string, changes: Partial<PolicyQuestion> = {}) => {
    const { allowed, denials } = await ask(when(conditions), changes);
    expect(allowed).toBe(false);
    return denials.map(({ rule, claim, expected, found }) => [rule, claim, expected, found]);
  };

  it.each<[string, string, string, string, Partial<PolicyQuestion>?]>([
    ['when { principal.vmpl == 1 }', 'vmpl', '1', '0'],
    ['when { 1 == principal.vmpl }', 'vmpl', '1', '0'],
    ['when { principal.tcb.reported.snp >= 25 }', 'tcb.reported.snp', '25 or more', '24'],
    ['when { 25 <= principal.tcb.reported.snp }', 'tcb.reported.snp', '25 or more', '24'],
    ['when { principal.guestSvn > 1 }', 'guestSvn', 'more than 1', '1'],
    ['when { principal.guestSvn < 1 }', 'guestSvn', 'less than 1', '1'],
    ['when { principal.guestSvn <= 0 }', 'guestSvn', '0 or less', '1'],
    ['when { principal.signer.kind != "VCEK" }', 'signer.kind', 'other than VCEK', 'VCEK'],
    ['when { ["x", "y"].contains(principal.measurement) }', 'measurement', 'one of x, y', hex(48, 'a')],
    ['when { principal.references.contains("a/b") }', 'references', 'a list with a/b', 'an empty list'],
    [
      'when { principal.references.containsAny(["a/b", "c/d"]) }',
      'references',
      'a list with one of a/b, c/d',
      'e/f',
      { references: ['e/f'] },
    ],
    ['when { principal has chipId }', 'chipId', 'any', 'none', { claims: least }],
    ['when { !(principal has chipId) }', 'chipId', 'none', hex(64, 'c')],
    ['when { principal.policy.debug }', 'policy.debug', 'true', 'false'],
    ['when { !principal.policy.smt }', 'policy.smt', 'false', 'true'],
    ['unless { principal.policy.smt }', 'policy.smt', 'false', 'true'],
    ['unless { principal.vmpl == 0 }', 'vmpl', 'other than 0', '0'],
    ['when { context.otherMachines < 2 }', 'otherMachines', 'less than 2', '2', { otherMachines: 2 }],
    [
      'when { context.now <= datetime("2026-11-01T00:00:00Z") }',
      'now',
      '2026-11-01T00:00:00Z or less',
      '2026-11-15T12:00:00.000Z',
    ],
    ['when { resource.tag == "other" }', 'resource.tag', 'other', 'disk'],
    [
      'when { principal.vmpl == 1 || principal.guestSvn == 7 }',
      'vmpl, guestSvn',
      '(principal.vmpl == 1) || (principal.guestSvn == 7)',
      'vmpl 0; guestSvn 1',
    ],
    [
      'when { principal.signer.kind like "VL*" }',
      'signer.kind',
      'principal.signer.kind like "VL*"',
      'signer.kind VCEK',
    ],
    ['when { false }', 'policy', 'false', 'otherwise'],
  ])('names claim, expected and found: %s', async (conditions, claim, expected, found, changes) => {
    expect(await shown(conditions, changes)).toEqual([['rule', claim, expected, found]]);
  });

  it('names every condition that does not hold, and none that rests on one before it', async () => {
    const conditions = `when { principal.vmpl == 0 && principal.guestSvn >= 9 && principal has chipId
      && principal.chipId == "x" && !principal.policy.smt } unless { context.otherMachines >= 1 || principal.vmpl == 3 }`;
    expect(await shown(conditions, { claims: { ...least, vmpl: 0 }, otherMachines: 1 })).toEqual([
      ['rule', 'guestSvn', '9 or more', '1'],
      ['rule', 'chipId', 'any', 'none'],
      ['rule', 'policy.smt', 'false', 'true'],
      ['rule', 'otherMachines', 'less than 1', '1'],
    ]);
  });

  it('names every rule about the resource, and no other', async () => {
    const { denials } = await ask(`
      @id("first") permit (principal is SnpGuest, action, resource) when { principal.vmpl == 1 };
      @id("elsewhere") permit (principal is SnpGuest, action, resource == Resource::"a/b/c") when { principal.vmpl == 2 };
      @id("launches") permit (principal is PreLaunchGuest, action, resource);
      permit (principal is SnpGuest, action == Action::"release", resource in Repository::"app") when { principal.vmpl == 3 };
    `);
    expect(denials.map(({ rule, expected }) => [rule, expected])).toEqual([
      ['first', '1'],
      ['rule 4', '3'],
    ]);
  });

  it('says so where no rule is about the resource', async () => {
    const { denials } = await ask('permit (principal is SnpGuest, action, resource == Resource::"a/b/c");');
    expect(denials).toEqual([
      {
        rule: 'deny-by-default',
        claim: 'resource',
        expected: 'a rule that permits it',
        found: 'app/key/disk, asked for by a SnpGuest',
      },
    ]);
  });

  it('names a rule that forbids, and what it is about', async () => {
    const answer = await ask(`
      @id("all") permit (principal, action, resource);
      @id("shunned") forbid (principal is SnpGuest, action, resource) when { principal has chipId && principal.chipId like "cc*" };
      @id("other") forbid (principal is SnpGuest, action, resource) when { principal.vmpl == 3 };
    `);
    expect(answer).toMatchObject({
      allowed: false,
      rules: ['shunned'],
      denials: [{ rule: 'shunned', claim: 'chipId', found: hex(64, 'c') }],
    });
    expect(answer.denials[0]?.expected).toMatch(/^otherwise than .*principal.chipId like "cc\*"$/);
    const always = await ask('@id("closed") forbid (principal, action, resource);');
    expect(always.denials[0]).toMatchObject({ rule: 'closed', claim: 'resource', found: 'app/key/disk' });
  });

  it('comes from a rule that cannot be evaluated, though Cedar would pass over it', async () => {
    const overflow = 'context.otherMachines + 9223372036854775807 > 0';
    const answer = await ask(
      `permit (principal, action, resource);
       @id("broken") forbid (principal, action, resource) when { ${overflow} };`,
      { otherMachines: 1 },
    );
    expect(answer).toMatchObject({
      allowed: false,
      denials: [{ rule: 'broken', claim: 'policy', expected: 'a rule that can be evaluated' }],
    });
  });

  it('is never without a reason', async () => {
    const claims = withTcb({ bootloader: 0, tee: 0, snp: 0, microcode: 0 });
    const text = 'when { if principal.vmpl == 0 then principal.tcb.reported.snp > 3 else true }';
    expect(await shown(text, { claims })).toEqual([
      ['rule', 'vmpl, tcb.reported.snp', expect.stringContaining('if'), 'vmpl 0; tcb.reported.snp 0'],
    ]);
  });
});
