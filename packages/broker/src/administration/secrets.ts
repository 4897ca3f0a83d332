import {
  largestSealedSecret,
  parseResourcePath,
  type ResourcePath,
  resourcePathText,
} from '@vouchsafe/protocol';
import { InvalidArgumentError, type Secret } from '@vouchsafe/sev';
import type { ResourceDescription } from '../secrets/resource-store.js';
import { inTransaction } from '../state/database.js';
import type { Principal } from './admin-tokens.js';
import { type AdministrationContext, byWhom } from './context.js';
import { anyReleasePolicy } from './policies.js';
import { NotFoundError } from './refused.js';

export interface NewSecret {
  /** Remains the caller's to zero. */
  readonly content: Secret;
  /** Milliseconds since 1970, both included. */
  readonly notBefore?: number | undefined;
  readonly notAfter?: number | undefined;
  /** How often the version may be released; without it, it is not counted. */
  readonly releases?: number | undefined;
  /** Name of the release policy; null for the default one; left out, as it was. */
  readonly policy?: string | null | undefined;
}

/** A secret as its administrators see it: never its content. */
export interface SecretDescription extends Omit<ResourceDescription, 'policy'> {
  /** Name of its release policy; left out where the default one decides. */
  readonly policy?: string;
}

/** Adds a version. @throws InvalidArgumentError; NotFoundError for a policy that there is not */
export async function putSecret(
  { state, policies, metrics }: AdministrationContext,
  path: ResourcePath,
  secret: NewSecret,
  who: Principal,
): Promise<{ readonly version: number }> {
  const name = checkedName(path);
  const { content, notBefore, notAfter, releases, policy } = secret;
  if (content.length > largestSealedSecret)
    throw new InvalidArgumentError(
      'secret',
      `expected at most ${largestSealedSecret} bytes, found ${content.length}`,
    );
  const version = await inTransaction(state.db, async (tx) => {
    const added = await state.resources.put(
      tx,
      name,
      {
        secret: content,
        ...(notBefore === undefined ? {} : { notBefore }),
        ...(notAfter === undefined ? {} : { notAfter }),
        ...(releases === undefined ? {} : { releaseLimit: releases }),
      },
      byWhom(who),
    );
    if (policy !== undefined)
      await state.resources.setPolicy(tx, name, await policyId(tx.query, policy), byWhom(who));
    return added;
  });
  metrics.secretWritten('stored');
  return { version };

  async function policyId(query: Parameters<typeof policies.find>[0], given: string | null) {
    if (given === null) return null;
    const found = await policies.find(query, given, anyReleasePolicy);
    if (found === undefined)
      throw new NotFoundError(`policy ${given}`, 'set it first: `vouchsafe broker policy set`');
    return found.id;
  }
}

/** What may be changed of a secret that is there. */
export interface SecretChange {
  readonly state?: 'enabled' | 'disabled' | undefined;
  /** Which version is enabled or disabled; without it, the whole secret. */
  readonly version?: number | undefined;
  readonly policy?: string | null | undefined;
}

/** @throws NotFoundError when there is no such secret, version or policy */
export async function changeSecret(
  { state, policies }: AdministrationContext,
  path: ResourcePath,
  { state: wanted, version, policy }: SecretChange,
  who: Principal,
): Promise<void> {
  const name = checkedName(path);
  await inTransaction(state.db, async (tx) => {
    if (wanted !== undefined) {
      const change = { state: wanted, ...(version === undefined ? {} : { version }) };
      if (!(await state.resources.setState(tx, name, change, byWhom(who)))) throw noSecret();
    }
    if (policy === undefined) return;
    const found = policy === null ? undefined : await policies.find(tx.query, policy, anyReleasePolicy);
    if (policy !== null && found === undefined) throw new NotFoundError(`policy ${policy}`);
    if (!(await state.resources.setPolicy(tx, name, found?.id ?? null, byWhom(who)))) throw noSecret();
  });
}

/** Destroys the content of a version, or of all. @throws NotFoundError */
export async function deleteSecret(
  { state, metrics }: AdministrationContext,
  path: ResourcePath,
  version: number | undefined,
  who: Principal,
): Promise<void> {
  const name = checkedName(path);
  const change = version === undefined ? {} : { version };
  const done = await inTransaction(state.db, (tx) => state.resources.delete(tx, name, change, byWhom(who)));
  if (!done) throw noSecret();
  metrics.secretWritten('withdrawn');
}

export async function describeSecret(
  context: AdministrationContext,
  path: ResourcePath,
): Promise<SecretDescription> {
  const { state } = context;
  const found = await state.resources.describe(state.db, checkedName(path));
  if (found === undefined) throw noSecret();
  const [described] = await withPolicyNames(context, [found]);
  return described!;
}

export async function listSecrets(context: AdministrationContext): Promise<SecretDescription[]> {
  return withPolicyNames(context, await context.state.resources.list(context.state.db));
}

async function withPolicyNames(
  { state, policies }: AdministrationContext,
  found: readonly ResourceDescription[],
): Promise<SecretDescription[]> {
  const names = new Map<string, string>();
  for (const id of new Set(found.flatMap(({ policy }) => policy ?? [])))
    names.set(id, (await policies.byId(state.db.query, id))?.name ?? '(deleted: permits nothing)');
  return found.map(({ policy, ...description }) => ({
    ...description,
    ...(policy === undefined ? {} : { policy: names.get(policy)! }),
  }));
}

/** Reading it again refuses what no guest could ask for. */
function checkedName(path: ResourcePath): string {
  const name = resourcePathText(path);
  parseResourcePath(name);
  return name;
}

const noSecret = () => new NotFoundError('secret', '`vouchsafe broker secret list` shows what there is');
