import { InvalidArgumentError } from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import { describeWithVectors, jsonVector, vectors } from '../../../../sev/src/testing/vectors.js';
import { someQuestion } from '../../testing/questions.js';
import type { PolicyQuestion } from '../release-policy.js';
import { recogniseAttestationPolicy } from './recognition.js';
import { trusteeReleasePolicy } from './release-policy.js';

const regoOf = (name: string) => new TextDecoder().decode(vectors(`kbs/policy/${name}`));

interface Case {
  readonly policy: string;
  readonly plugin: string;
  readonly path: readonly [string, string, string];
  readonly productId: string;
  readonly svn: number;
  readonly expect: boolean;
}

function questionOf({ plugin, path, productId, svn }: Omit<Case, 'policy' | 'expect'>): PolicyQuestion {
  const [repository, type, tag] = path;
  const cpu0 = {
    'ear.trustworthiness-vector': { executables: 2, hardware: 3 },
    'ear.veraison.annotated-evidence': { sample: { productId, svn } },
  };
  return someQuestion({ resource: { repository, type, tag }, plugin, tokenClaims: { submods: { cpu0 } } });
}

const submodules = (submods: Readonly<Record<string, unknown>>, changes: Partial<PolicyQuestion> = {}) =>
  someQuestion({ tokenClaims: { submods }, ...changes });
const withStatus = (status: unknown, evidence: object = { snp: {} }) => ({
  'ear.status': status,
  'ear.veraison.annotated-evidence': evidence,
});

describeWithVectors('the policies that Trustee publishes', () => {
  it('decide as its engine does', async () => {
    const { cases } = jsonVector<{ cases: readonly Case[] }>('kbs/policy/engine/cases.json');
    expect(cases.length).toBeGreaterThan(3);
    for (const each of cases) {
      const policy = trusteeReleasePolicy(regoOf(`engine/${each.policy}`));
      const { allowed, denials } = await policy.ask(questionOf(each));
      expect([each, allowed]).toEqual([each, each.expect]);
      expect(denials.length > 0).toBe(!allowed);
      await policy.close();
    }
  });

  // Every row was answered by OPA 0.70 as well, for the four resource policies in this order.
  const rows: readonly [string, PolicyQuestion, readonly boolean[]][] = [
    ['an affirming guest', submodules({ cpu0: withStatus('affirming') }), [true, true, false, true]],
    ['a guest with a warning', submodules({ cpu0: withStatus('warning') }), [true, true, false, false]],
    [
      'one of two submodules affirming',
      submodules({ cpu0: withStatus('affirming'), gpu0: withStatus('none') }),
      [true, true, false, false],
    ],
    [
      'two affirming submodules',
      submodules({ cpu0: withStatus('affirming'), gpu0: withStatus('affirming') }),
      [true, true, false, true],
    ],
    ['no submodule', submodules({}), [true, true, false, false]],
    [
      'sample evidence',
      submodules({ cpu0: withStatus('affirming', { sample: { svn: '1' } }) }),
      [false, true, false, true],
    ],
    [
      'sample evidence that is null, which Rego takes for something',
      submodules({ cpu0: withStatus('affirming', { sample: null }) }),
      [false, true, false, true],
    ],
    [
      'sample evidence that is false, which Rego takes for nothing',
      submodules({ cpu0: withStatus('affirming', { sample: false }) }),
      [true, true, false, true],
    ],
    [
      'sample evidence of another submodule',
      submodules({ gpu0: withStatus('affirming', { sample: {} }) }),
      [true, true, false, true],
    ],
    [
      'another plugin',
      submodules({ cpu0: withStatus('affirming') }, { plugin: 'pkcs11' }),
      [false, false, false, true],
    ],
  ];
  it.each(rows)('answer %s', async (_, question, expected) => {
    const names = ['default', 'allow_all', 'deny_all', 'affirming'] as const;
    for (const [i, name] of names.entries()) {
      const policy = trusteeReleasePolicy(regoOf(`resource/${name}.rego`));
      const { allowed, rules, denials } = await policy.ask(question);
      expect([name, allowed]).toEqual([name, expected[i]]);
      expect(policy).toMatchObject({ language: 'trustee', name });
      if (allowed) expect(rules).toEqual([`trustee-${name.replace('_', '-')}`]);
      else expect(denials[0]?.rule).toMatch(/^trustee-/);
      await policy.close();
    }
  });

  it('name the claim that stands in the way', async () => {
    const policy = trusteeReleasePolicy(regoOf('resource/affirming.rego'));
    const { denials } = await policy.ask(submodules({ cpu0: withStatus('warning') }));
    expect(denials).toEqual([
      { rule: 'trustee-affirming', claim: 'statuses', expected: 'none but affirming', found: 'warning' },
    ]);
  });

  // Here the equivalent is stricter than Trustee's: Rego passes over a member that is not there.
  it('do not take a submodule without a status for affirming', async () => {
    const policy = trusteeReleasePolicy(regoOf('resource/affirming.rego'));
    for (const submods of [
      { cpu0: {} },
      { cpu0: withStatus('affirming'), gpu0: {} },
      { cpu0: withStatus(1) },
    ])
      expect((await policy.ask(submodules(submods))).allowed).toBe(false);
  });

  it.each([undefined, null, [], 'affirming'])('deny a token whose submodules are %j', async (submods) => {
    for (const name of ['default', 'allow_all', 'affirming']) {
      const policy = trusteeReleasePolicy(regoOf(`resource/${name}.rego`));
      expect(await policy.ask(someQuestion({ tokenClaims: { submods } }))).toMatchObject({
        allowed: false,
        denials: [{ claim: 'submods' }],
      });
    }
  });

  it('are recognised without their comments, and with other white space', () => {
    const text = regoOf('resource/default.rego');
    const bare = text
      .replaceAll(/^#.*\n/gm, '')
      .replaceAll('\t', '    ')
      .replaceAll('\n', '\r\n');
    expect(bare).not.toBe(text);
    expect(trusteeReleasePolicy(bare).name).toBe('default');
    expect(trusteeReleasePolicy(regoOf('engine/policy_3.rego')).name).toBe('deny_all');
    expect(trusteeReleasePolicy(regoOf('engine/policy_2.rego')).name).toBe('policy_2');
    expect(recogniseAttestationPolicy(regoOf('attestation/ear_default_policy_cpu.rego'))).toBe(
      'ear_default_policy_cpu',
    );
  });

  it.each<[string, (text: string) => string]>([
    ['one word changed', (text) => text.replace('allow = false', 'allow = null')],
    ['a rule more', (text) => `${text}\nallow if { true }\n`],
    ['two lines joined', (text) => text.replace('package policy\n\n', 'package policy ')],
    ['a comment that hides no rule', (text) => text.replace('default allow', '"#"\ndefault allow')],
  ])('are not recognised with %s', (_, change) => {
    const text = regoOf('resource/deny_all.rego');
    const changed = change(text);
    expect(changed).not.toBe(text);
    expect(() => trusteeReleasePolicy(changed)).toThrow(InvalidArgumentError);
  });
});

describe('other Rego source', () => {
  const refusalOf = (read: () => unknown): InvalidArgumentError => {
    try {
      read();
    } catch (error) {
      if (error instanceof InvalidArgumentError) return error;
    }
    throw new Error('was not refused');
  };

  it('is refused, with the reason and the ways out', () => {
    const error = refusalOf(() => trusteeReleasePolicy('package mine\ndefault allow = true\n'));
    expect(error.message).toBe(
      'resource policy: Rego source of package mine is none of Trustee’s published ones, and this broker does not interpret Rego source',
    );
    expect(error.hint).toMatch(/opa build -t wasm .*Cedar/);
    expect(refusalOf(() => trusteeReleasePolicy('')).message).toContain('text without a package');
  });

  it('is refused as an attestation policy, too', () => {
    const error = refusalOf(() => recogniseAttestationPolicy('package policy\ntrust_claims := {}\n'));
    expect(error.message).toMatch(/^attestation policy: /);
    expect(error.hint).toMatch(/reference values/);
  });
});
