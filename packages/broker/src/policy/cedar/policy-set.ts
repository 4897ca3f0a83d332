import type { PolicyJson } from '@cedar-policy/cedar-wasm/nodejs';
import { InvalidArgumentError } from '@vouchsafe/sev';
import { policyError, withCedar } from './engine.js';
import type { CedarRequest } from './entities.js';
import { requireWithinLimits } from './limits.js';
import { type Projection, projectionOf } from './projection.js';

/** One permit or forbid of a policy. */
export interface CedarRule {
  /** Its `@id` annotation, or `rule 2` by its place in the text. */
  readonly id: string;
  readonly text: string;
  readonly json: PolicyJson;
}

export interface CedarAnswer {
  readonly allowed: boolean;
  /** Ids of the rules that decided. */
  readonly rules: readonly string[];
  /** Rules that could not be evaluated; any of them denies. */
  readonly errors: readonly { readonly rule: string; readonly message: string }[];
}

/** Names of parsed policies inside Cedar, which keeps what it was given: they are used again. */
const freeSlots: string[] = [];
let slots = 0;

/** A parsed and type-checked policy, ready to be asked many times. */
export class CedarPolicySet {
  readonly rules: readonly CedarRule[];
  /** What the type checker found odd, such as a rule that never applies. */
  readonly warnings: readonly string[];
  readonly #slot: string;
  readonly #projection: Projection;
  /** Instance of Cedar that holds the parsed policy. */
  #generation: number | undefined;
  #closed = false;

  private constructor(rules: readonly CedarRule[], warnings: readonly string[]) {
    this.rules = rules;
    this.warnings = warnings;
    this.#projection = projectionOf(rules.map(({ json }) => json));
    this.#slot = freeSlots.pop() ?? `release policy ${++slots}`;
  }

  /**
   * Reads a policy and checks it against a schema.
   * @throws InvalidArgumentError for text that is no policy, speaks of what the schema has not, or goes beyond the limits
   * @throws UnavailableError when Cedar cannot cope with it
   */
  static parse(text: string, schema: string): CedarPolicySet {
    requireWithinLimits(text);
    const rules = readRules(text);
    const policies = policiesOf(rules);
    const answer = withCedar((cedar) =>
      cedar.validate({ schema, policies, validationSettings: { mode: 'strict' } }),
    );
    if (answer.type === 'failure') throw policyError(answer.errors, text);
    const [fault] = answer.validationErrors;
    if (fault !== undefined) {
      const message = `${fault.policyId}: ${withoutPrefix(fault.error.message)}`;
      const help = hintFor(message) ?? fault.error.help;
      throw policyError([{ ...fault.error, message, help, sourceLocations: [] }]);
    }
    const warnings = answer.validationWarnings.map(
      ({ policyId, error }) => `${policyId}: ${withoutPrefix(error.message)}`,
    );
    return new CedarPolicySet(rules, warnings);
  }

  /** Whether a rule reads an attribute of `principal`, `resource` or `context`. */
  reads(root: string, attribute: string): boolean {
    return this.#projection.reads(root, attribute);
  }

  /** Asks without the schema: claims are built to fit it, and checking that again costs twice the answer. */
  ask(request: CedarRequest): CedarAnswer {
    if (this.#closed) throw new InvalidArgumentError('policy', 'was closed');
    const answer = withCedar((cedar, generation) => {
      if (this.#generation !== generation) {
        const prepared = cedar.preparsePolicySet(this.#slot, policiesOf(this.rules));
        if (prepared.type === 'failure') throw policyError(prepared.errors);
        this.#generation = generation;
      }
      return cedar.statefulIsAuthorized({
        ...this.#projection.project(request),
        preparsedPolicySetId: this.#slot,
      });
    });
    if (answer.type === 'failure') {
      const message = answer.errors.map((each) => each.message).join('; ');
      return { allowed: false, rules: [], errors: [{ rule: 'question', message }] };
    }
    const { decision, diagnostics } = answer.response;
    const errors = diagnostics.errors.map(({ policyId, error }) => ({
      rule: policyId,
      message: error.message,
    }));
    // Cedar passes over a rule that it cannot evaluate, a forbid too: that would open what the rule closes.
    return { allowed: decision === 'allow' && errors.length === 0, rules: diagnostics.reason, errors };
  }

  /** Gives back what Cedar holds of it. */
  close(): void {
    if (!this.#closed) freeSlots.push(this.#slot);
    this.#closed = true;
  }
}

function readRules(text: string): CedarRule[] {
  const parts = withCedar((cedar) => cedar.policySetTextToParts(text));
  if (parts.type === 'failure') throw policyError(parts.errors, text);
  if (parts.policy_templates.length > 0)
    throw new InvalidArgumentError('policy', 'is a template', {
      hint: 'write the value instead of ?principal or ?resource',
    });
  if (parts.policies.length === 0)
    throw new InvalidArgumentError('policy', 'has no rule', {
      hint: 'without a permit, everything is denied',
    });
  const places = new Map(parts.policies.map((each) => [each, text.indexOf(each)]));
  const inOrder = [...parts.policies].sort((a, b) => (places.get(a) ?? 0) - (places.get(b) ?? 0));
  const rules = inOrder.map((rule, i) => readRule(rule, i + 1));
  const twice = rules.find(({ id }, i) => rules.findIndex((each) => each.id === id) !== i);
  if (twice !== undefined) throw new InvalidArgumentError('policy', `two rules have the id ${twice.id}`);
  return rules;
}

function readRule(text: string, place: number): CedarRule {
  const parsed = withCedar((cedar) => cedar.policyToJson(text));
  if (parsed.type === 'failure') throw policyError(parsed.errors, text);
  const { json } = parsed;
  return { id: json.annotations?.['id'] || `rule ${place}`, text, json };
}

const policiesOf = (rules: readonly CedarRule[]) => ({
  staticPolicies: Object.fromEntries(rules.map(({ id, text }) => [id, text])),
});

const withoutPrefix = (message: string) => message.replace(/^for policy `[^`]*`, /, '');

/** The one mistake that everybody makes first. */
function hintFor(message: string): string | null {
  return message.includes('PreLaunchGuest')
    ? 'say which guests the rule is about: permit(principal is SnpGuest, …)'
    : null;
}
