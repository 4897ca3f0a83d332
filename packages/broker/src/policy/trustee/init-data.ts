import { parseStrictJson } from '@vouchsafe/protocol';
import { VouchsafeError } from '@vouchsafe/sev';
import { parse, TomlError } from 'smol-toml';

/**
 * The files of init-data as Trustee's claims have them: `aa.toml` and `cdh.toml` as objects; where `policy.rego` ends with
 * `policy_data := {…}` in JSON, that object is `agent_policy_claims` and stands in the text's place. A file that is not
 * what its name says stays text.
 */
export function trusteeInitDataClaims(data: Readonly<Record<string, string>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(data).map(([name, text]) => {
      if (name === 'aa.toml' || name === 'cdh.toml') return [name, tomlOf(text) ?? text];
      const claims = name === 'policy.rego' ? policyData(text) : undefined;
      return claims === undefined ? [name, text] : ['agent_policy_claims', claims];
    }),
  );
}

function tomlOf(text: string): unknown {
  try {
    return parse(text);
  } catch (error) {
    if (error instanceof TomlError) return undefined;
    throw error;
  }
}

function policyData(text: string): unknown {
  const start = text.lastIndexOf('policy_data := {');
  if (start === -1) return undefined;
  try {
    return parseStrictJson('policy_data', text.slice(text.indexOf('{', start)).trimEnd());
  } catch (error) {
    if (error instanceof VouchsafeError) return undefined;
    throw error;
  }
}

/**
 * What init-data says of the workload, as Trustee's default policy puts it into `ear.trustee.identifiers`: images and user
 * ids of the containers that the agent's policy admits.
 */
export function validatedIdentifiers(initDataClaims: Readonly<Record<string, unknown>>): {
  readonly container_images?: readonly unknown[];
  readonly container_uids?: readonly unknown[];
} {
  const containers = itemsOf(at(initDataClaims, 'agent_policy_claims', 'containers'));
  const pick = (...path: string[]) =>
    containers.map((each) => at(each, ...path)).filter((value) => value !== undefined);
  const images = pick('OCI', 'Annotations', 'io.kubernetes.cri.image-name');
  const uids = pick('OCI', 'Process', 'User', 'UID');
  return {
    ...(images.length > 0 ? { container_images: images } : {}),
    ...(uids.length > 0 ? { container_uids: uids } : {}),
  };
}

/** Rego goes through the values of an object as through those of a list. */
function itemsOf(value: unknown): readonly unknown[] {
  return typeof value === 'object' && value !== null ? Object.values(value) : [];
}

/** A member of a member; undefined where one of them is absent. */
export function at(value: unknown, ...path: readonly string[]): unknown {
  return path.reduce<unknown>(
    (found, name) =>
      typeof found === 'object' && found !== null && Object.hasOwn(found, name)
        ? (found as Record<string, unknown>)[name]
        : undefined,
    value,
  );
}
