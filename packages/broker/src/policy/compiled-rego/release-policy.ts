import { createHash } from 'node:crypto';
import { InvalidArgumentError } from '@vouchsafe/sev';
import type { PolicyAnswer, PolicyQuestion, ReleasePolicy } from '../release-policy.js';
import { memoryPagesOf } from './module-shape.js';
import {
  CompiledPolicyError,
  type CompiledPolicyLimits,
  defaultCompiledPolicyLimits,
  PolicyProcess,
} from './policy-process.js';

/** A release policy that its owner compiled with `opa build -t wasm`. */
export interface CompiledReleasePolicy extends ReleasePolicy {
  readonly language: 'compiled-rego';
  /** `policy/allow`, or `policy`, whose `allow` then counts. */
  readonly entrypoint: string;
}

/**
 * Loads a compiled policy, in a process of its own, with deadlines and limits of memory. It is asked what Trustee asks: the token's
 * claims as input; plugin, resource path and query as data. Only `true` allows.
 * @param module policy.wasm of the bundle
 * @throws InvalidArgumentError for a module that does not load in time, or has nothing that can be asked
 */
export async function compiledReleasePolicy(
  module: Uint8Array,
  limits: CompiledPolicyLimits = defaultCompiledPolicyLimits,
): Promise<CompiledReleasePolicy> {
  const pages = memoryPagesOf(module);
  if (pages > limits.memoryPages)
    throw new InvalidArgumentError(
      'compiled policy',
      `wants ${pages} pages of memory, the limit is ${limits.memoryPages}`,
    );
  const policyProcess = new PolicyProcess(Uint8Array.from(module), pages, limits);
  const entrypoint = await entrypointOf(policyProcess);
  return {
    language: 'compiled-rego',
    countsMachines: false,
    id: createHash('sha384').update(module).digest('hex'),
    entrypoint,
    async ask(question: PolicyQuestion): Promise<PolicyAnswer> {
      try {
        const result = await policyProcess.evaluate({
          entrypoint,
          input: question.tokenClaims,
          data: dataOf(question),
        });
        return answerOf(result, entrypoint);
      } catch (error) {
        if (!(error instanceof CompiledPolicyError)) throw error;
        return denied(`compiled-policy.${error.fault}`, 'an answer', error.message);
      }
    },
    close: () => policyProcess.close(),
  };
}

async function entrypointOf(policyProcess: PolicyProcess): Promise<string> {
  const refuse = async (found: string, hint: string): Promise<never> => {
    await policyProcess.close();
    throw new InvalidArgumentError('compiled policy', found, { hint });
  };
  let names: readonly string[];
  try {
    names = await policyProcess.entrypoints();
  } catch (error) {
    if (!(error instanceof CompiledPolicyError)) throw error;
    return refuse(`does not load: ${error.message}`, 'build it with opa build -t wasm -e policy/allow FILE');
  }
  const known = ['policy/allow', 'policy'].find((each) => names.includes(each));
  return (
    known ??
    refuse(
      `has the entry points ${names.join(', ') || 'none'}`,
      'name policy/allow: opa build -e policy/allow',
    )
  );
}

/** The description of a request, as Trustee gives it to resource policies. */
function dataOf({ resource: { repository, type, tag }, plugin = 'resource' }: PolicyQuestion) {
  return { plugin, 'resource-path': [repository, type, tag], query: {} };
}

/** OPA answers with a list of results: none for what is undefined. */
function answerOf(result: unknown, entrypoint: string): PolicyAnswer {
  const [first] = Array.isArray(result) && result.length === 1 ? (result as readonly unknown[]) : [];
  const value = memberOf(first, 'result');
  const allow = entrypoint === 'policy' ? memberOf(value, 'allow') : value;
  if (allow === true) return { allowed: true, rules: [rule], denials: [] };
  return denied(
    rule,
    'true',
    allow === undefined ? 'undefined' : (JSON.stringify(allow) ?? 'undefined').slice(0, 200),
  );
}

const rule = 'policy.allow';

function memberOf(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}

function denied(name: string, expected: string, found: string): PolicyAnswer {
  const denial = {
    rule: name,
    claim: 'policy',
    expected,
    found,
    hint: 'a compiled policy does not say why: write it in Cedar to have every condition explained',
  };
  return { allowed: false, rules: [], denials: [denial] };
}
