import type { Clause, Expr, PolicyJson } from '@cedar-policy/cedar-wasm/nodejs';
import { withCedar } from './engine.js';
import type { CedarRequest } from './entities.js';

/** One condition of a rule: what stands between two `&&` of its when and unless clauses. */
export interface Condition {
  readonly expression: Expr;
  /** The rule wants it false. */
  readonly negated: boolean;
}

/** The conditions of a rule, in order. One may rest on those before it: `principal has chipId && principal.chipId …`. */
export function conditionsOf({ conditions }: PolicyJson): Condition[] {
  return conditions.flatMap(({ kind, body }: Clause): Condition[] =>
    kind === 'when'
      ? conjuncts(body).map((expression) => ({ expression, negated: false }))
      : disjuncts(body).map((expression) => ({ expression, negated: true })),
  );
}

/** In `unless { a || b }` each part stands in the way on its own, unless a later one rests on an earlier. */
function disjuncts(expression: Expr): Expr[] {
  const both = operands(expression, '||');
  return both === undefined ? [expression] : both.flatMap(disjuncts);
}

function conjuncts(expression: Expr): Expr[] {
  const both = operands(expression, '&&');
  return both === undefined ? [expression] : both.flatMap(conjuncts);
}

interface Binary {
  readonly left: Expr;
  readonly right: Expr;
}

/** Left and right of a binary operator; undefined for anything else. */
export function operands(expression: Expr, operator: string): readonly [Expr, Expr] | undefined {
  const node = argument(expression, operator) as Binary | undefined;
  return node === undefined ? undefined : [node.left, node.right];
}

/** What an operator is applied to; undefined when the expression is of another. */
export function argument(expression: Expr, operator: string): unknown {
  return Object.hasOwn(expression, operator) ? (expression as Record<string, unknown>)[operator] : undefined;
}

/** `['principal', 'tcb', 'reported']` for `principal.tcb.reported`; undefined for anything else. */
export function pathOf(expression: Expr): readonly string[] | undefined {
  const variable = argument(expression, 'Var');
  if (typeof variable === 'string') return [variable];
  const member = argument(expression, '.') as { readonly left: Expr; readonly attr: string } | undefined;
  const path = member && pathOf(member.left);
  return path && member && [...path, member.attr];
}

/** Every path of an expression, each once. */
export function pathsIn(expression: unknown): (readonly string[])[] {
  const found = new Map<string, readonly string[]>();
  const visit = (value: unknown): void => {
    if (typeof value !== 'object' || value === null) return;
    const path = Array.isArray(value) ? undefined : pathOf(value as Expr);
    if (path === undefined) for (const each of Object.values(value)) visit(each);
    else if (path.length > 1) found.set(path.join('.'), path);
  };
  visit(expression);
  return [...found.values()];
}

/** A path as people know it: claims without the word principal. */
export function claimName([root = '', ...members]: readonly string[]): string {
  return (root === 'resource' ? [root, ...members] : members).join('.');
}

/** What a path leads to in a question, in words. */
export function valueAt(path: readonly string[], request: CedarRequest): string {
  const [root, ...members] = path;
  const start =
    root === 'context'
      ? request.context
      : request.entities.find(
          ({ uid }) => 'id' in uid && root !== 'action' && uid.id === request[root as 'principal'].id,
        )?.attrs;
  const value = members.reduce<unknown>(
    (at, name) => (typeof at === 'object' && at !== null ? (at as Record<string, unknown>)[name] : undefined),
    start,
  );
  return valueText(value);
}

function valueText(value: unknown): string {
  if (value === undefined) return 'none';
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : value.map(valueText).join(', ');
  if (typeof value !== 'object' || value === null) return String(value);
  const extension = (value as { readonly __extn?: { readonly arg: unknown } }).__extn;
  if (extension !== undefined) return String(extension.arg);
  return Object.entries(value)
    .map(([name, each]) => `${name} ${valueText(each)}`)
    .join(', ');
}

/** The values of a literal, in words; undefined for an expression that must be evaluated. */
export function literalText(expression: Expr): string | undefined {
  const value = argument(expression, 'Value');
  if (value !== undefined) return typeof value === 'object' ? undefined : String(value);
  const extension = argument(expression, 'datetime') ?? argument(expression, 'decimal');
  if (Array.isArray(extension)) return literalText(extension[0] as Expr);
  const set = argument(expression, 'Set');
  if (!Array.isArray(set)) return undefined;
  const texts = set.map((each) => literalText(each as Expr));
  return texts.every((each) => each !== undefined) ? texts.join(', ') || 'an empty list' : undefined;
}

const anything = { op: 'All' } as const;

/** An expression as Cedar writes it. */
export function expressionText(expression: Expr): string {
  const rule: PolicyJson = {
    effect: 'permit',
    principal: anything,
    action: anything,
    resource: anything,
    conditions: [{ kind: 'when', body: expression }],
  };
  const answer = withCedar((cedar) => cedar.policyToText(rule));
  if (answer.type === 'failure') return 'a condition';
  return answer.text.replace(/^[^{]*\{\s*/, '').replace(/\s*\};?\s*$/, '');
}

/** Whether one expression is true of a question; undefined when it cannot be evaluated. */
export function holds(expression: Expr, request: CedarRequest): boolean | undefined {
  const rule: PolicyJson = {
    effect: 'permit',
    principal: anything,
    action: anything,
    resource: anything,
    conditions: [{ kind: 'when', body: expression }],
  };
  return applies(rule, request);
}

/** Whether a rule applies to a question; undefined when its conditions cannot be evaluated. */
export function applies(rule: PolicyJson, request: CedarRequest): boolean | undefined {
  const asked: PolicyJson = { ...rule, effect: 'permit' };
  const answer = withCedar((cedar) =>
    cedar.isAuthorized({ ...request, policies: { staticPolicies: { asked } } }),
  );
  if (answer.type === 'failure' || answer.response.diagnostics.errors.length > 0) return undefined;
  return answer.response.decision === 'allow';
}
