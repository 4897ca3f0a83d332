import type { Expr } from '@cedar-policy/cedar-wasm/nodejs';
import { type Denial, noRule } from '../release-policy.js';
import type { CedarRequest } from './entities.js';
import {
  applies,
  argument,
  type Condition,
  claimName,
  conditionsOf,
  expressionText,
  holds,
  literalText,
  operands,
  pathOf,
  pathsIn,
  valueAt,
} from './expression.js';
import type { CedarAnswer, CedarRule } from './policy-set.js';

/**
 * Why an answer was no, condition by condition: the forbids that applied and, where no permit did, every condition of
 * every permit about this resource and this kind of guest that does not hold. Slow: it asks Cedar about each of them.
 */
export function explainDenial(
  rules: readonly CedarRule[],
  request: CedarRequest,
  answer: CedarAnswer,
): Denial[] {
  if (answer.allowed) return [];
  const reasons = reasonsOf(rules, request, answer);
  if (reasons.length > 0) return reasons;
  return [{ rule: noRule, claim: 'policy', expected: 'a rule that permits', found: 'none that does' }];
}

function reasonsOf(rules: readonly CedarRule[], request: CedarRequest, answer: CedarAnswer): Denial[] {
  const errors = answer.errors.map(({ rule, message }) => ({
    rule,
    claim: 'policy',
    expected: 'a rule that can be evaluated',
    found: message,
  }));
  const forbids = rules
    .filter(({ json }) => json.effect === 'forbid' && applies(json, request) === true)
    .map((rule) => forbidden(rule, request));
  const permits = rules.filter(({ json }) => json.effect === 'permit');
  if (permits.some(({ json }) => applies(json, request) === true)) return [...errors, ...forbids];
  const about = permits.filter(({ json }) => applies({ ...json, conditions: [] }, request) === true);
  if (about.length === 0) {
    const { principal, resource } = request;
    const found = `${resource.id}, asked for by a ${principal.type}`;
    return [
      ...errors,
      ...forbids,
      { rule: noRule, claim: 'resource', expected: 'a rule that permits it', found },
    ];
  }
  return [...errors, ...forbids, ...about.flatMap((rule) => unmet(rule, request))];
}

function forbidden({ id, json }: CedarRule, request: CedarRequest): Denial {
  const conditions = conditionsOf(json);
  const paths = conditions.flatMap(({ expression }) => pathsIn(expression));
  const texts = conditions.map(
    ({ expression, negated }) => `${negated ? 'not ' : ''}${expressionText(expression)}`,
  );
  return {
    rule: id,
    claim: namesOf(paths) || 'resource',
    expected:
      texts.length === 0 ? 'nothing, as the rule forbids it always' : `otherwise than ${texts.join(' and ')}`,
    found: paths.map((path) => valueAt(path, request)).join('; ') || request.resource.id,
  };
}

/** A condition that cannot be evaluated rests on one before it that does not hold: that one is the reason. */
function unmet({ id, json }: CedarRule, request: CedarRequest): Denial[] {
  return conditionsOf(json)
    .filter(({ expression, negated }) => holds(expression, request) === negated)
    .map((condition) => ({ rule: id, ...describe(condition, request) }));
}

const namesOf = (paths: readonly (readonly string[])[]) => [...new Set(paths.map(claimName))].join(', ');

type Description = Pick<Denial, 'claim' | 'expected' | 'found'>;

function describe({ expression, negated }: Condition, request: CedarRequest): Description {
  const inner = argument(expression, '!') as { readonly arg: Expr } | undefined;
  if (inner !== undefined) return describe({ expression: inner.arg, negated: !negated }, request);
  const path = pathOf(expression);
  if (path !== undefined) return one(path, String(!negated), request);
  for (const operator of Object.keys(comparisons)) {
    const both = operands(expression, operator);
    const compared = both && comparison(negated ? (opposites[operator] ?? operator) : operator, both);
    if (compared === undefined) continue;
    const { path: at, words } = compared;
    return one(at, negated && opposites[operator] === undefined ? `not ${words}` : words, request);
  }
  const has = argument(expression, 'has') as
    | { readonly left: Expr; readonly attr: string | string[] }
    | undefined;
  const owner = has && pathOf(has.left);
  if (has !== undefined && owner !== undefined)
    return one([...owner, ...[has.attr].flat()], negated ? 'none' : 'any', request);
  const paths = pathsIn(expression);
  return {
    claim: namesOf(paths) || 'policy',
    expected: `${negated ? 'not ' : ''}${expressionText(expression)}`,
    found: paths.map((each) => `${claimName(each)} ${valueAt(each, request)}`).join('; ') || 'otherwise',
  };
}

function one(path: readonly string[], expected: string, request: CedarRequest): Description {
  return { claim: claimName(path), expected, found: valueAt(path, request) };
}

/** Each comparison in words, with the claim on its left and on its right. */
const comparisons: Readonly<
  Record<string, readonly [left: (value: string) => string, right: (value: string) => string]>
> = {
  '==': [(value) => value, (value) => value],
  '!=': [(value) => `other than ${value}`, (value) => `other than ${value}`],
  '<': [(value) => `less than ${value}`, (value) => `more than ${value}`],
  '<=': [(value) => `${value} or less`, (value) => `${value} or more`],
  '>': [(value) => `more than ${value}`, (value) => `less than ${value}`],
  '>=': [(value) => `${value} or more`, (value) => `${value} or less`],
  contains: [(value) => `a list with ${value}`, (value) => `one of ${value}`],
  containsAll: [(value) => `a list with all of ${value}`, (value) => `none but ${value}`],
  containsAny: [(value) => `a list with one of ${value}`, (value) => `a list with one of ${value}`],
};

const opposites: Readonly<Record<string, string>> = {
  '==': '!=',
  '!=': '==',
  '<': '>=',
  '<=': '>',
  '>': '<=',
  '>=': '<',
};

/** A claim against a literal, on whichever side it stands. */
function comparison(operator: string, [left, right]: readonly [Expr, Expr]) {
  const words = comparisons[operator];
  const [leftPath, rightPath] = [pathOf(left), pathOf(right)];
  const [leftText, rightText] = [literalText(left), literalText(right)];
  if (leftPath !== undefined && rightText !== undefined)
    return { path: leftPath, words: words?.[0](rightText) ?? '' };
  if (rightPath !== undefined && leftText !== undefined)
    return { path: rightPath, words: words?.[1](leftText) ?? '' };
  return undefined;
}
