import type { CedarValueJson, EntityJson, Expr, PolicyJson } from '@cedar-policy/cedar-wasm/nodejs';
import type { CedarRequest } from './entities.js';
import { argument, pathOf } from './expression.js';

/** What of a value is asked for: `true` for all of it, or by member. */
type Wanted = true | Map<string, Wanted>;

/** What of a question the rules of a policy speak of. */
export interface Projection {
  /** Whether a rule reads an attribute of `principal`, `resource` or `context`. */
  reads(root: string, attribute: string): boolean;
  /** Leaves out of a question what no rule speaks of. */
  project(request: CedarRequest): CedarRequest;
}

/** Handing every claim to Cedar costs more than the answer, and what is not spoken of cannot change it. */
export function projectionOf(rules: readonly PolicyJson[]): Projection {
  const wanted = new Map<string, Wanted>();
  for (const { conditions } of rules) for (const { body } of conditions) collect(body, wanted);
  const usesTags = rules.some(({ conditions }) => /"(?:hasTag|getTag)":/.test(JSON.stringify(conditions)));
  const usesParents = rules.some((rule) => /"in":|"op":"in"/.test(JSON.stringify(rule)));
  const attributes = (root: string, attrs: Record<string, CedarValueJson>) =>
    project(attrs, wanted.get(root) ?? nothing) as Record<string, CedarValueJson>;
  const projected = ({ principal, action, resource, context, entities }: CedarRequest) => ({
    principal,
    action,
    resource,
    context: attributes('context', context),
    entities: entities.flatMap((entity) => {
      const root = isNamed(entity, principal) ? 'principal' : 'resource';
      const { tags, attrs, parents, uid } = entity;
      if (root === 'resource' && !usesParents && !wanted.has(root)) return [];
      const kept = { uid, attrs: attributes(root, attrs), parents };
      return [usesTags && tags !== undefined ? { ...kept, tags } : kept];
    }),
  });
  return {
    reads(root, attribute) {
      const inner = wanted.get(root);
      return inner === true || inner?.has(attribute) === true;
    },
    project: projected,
  };
}

const nothing: Wanted = new Map();

function isNamed({ uid }: EntityJson, { type, id }: CedarRequest['principal']): boolean {
  return 'id' in uid && uid.type === type && uid.id === id;
}

/** Every path of an expression, and every member that is asked after with `has`. */
function collect(expression: unknown, wanted: Map<string, Wanted>): void {
  if (typeof expression !== 'object' || expression === null) return;
  const path = Array.isArray(expression) ? undefined : pathOf(expression as Expr);
  if (path !== undefined) {
    // By itself, a guest or a resource stands for its name; the context is a record and stands for all of it.
    if (path.length > 1 || path[0] === 'context') want(path, wanted);
    return;
  }
  const has = argument(expression as Expr, 'has') as
    | { readonly left: Expr; readonly attr: string | readonly string[] }
    | undefined;
  const owner = has && pathOf(has.left);
  if (has !== undefined && owner !== undefined) want([...owner, ...[has.attr].flat()], wanted);
  else for (const each of Object.values(expression)) collect(each, wanted);
}

function want([name = '', ...rest]: readonly string[], wanted: Map<string, Wanted>): void {
  const known = wanted.get(name);
  if (known === true) return;
  if (rest.length === 0) {
    wanted.set(name, true);
    return;
  }
  const inner = known ?? new Map<string, Wanted>();
  wanted.set(name, inner);
  want(rest, inner);
}

function project(value: CedarValueJson, wanted: Wanted): CedarValueJson {
  if (wanted === true || typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  // An extension's value is one thing, though it is written as an object.
  if ('__extn' in value || '__entity' in value) return value;
  const members = value as Record<string, CedarValueJson>;
  return Object.fromEntries(
    [...wanted].flatMap(([name, inner]) => {
      const member = Object.hasOwn(members, name) ? members[name] : undefined;
      return member === undefined ? [] : [[name, project(member, inner)]];
    }),
  );
}
