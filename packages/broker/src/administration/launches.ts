import type { BrokerOwners } from '../pre-launch/broker-owner.js';
import { type LaunchKind, parseLaunchKind } from '../pre-launch/launch-kind.js';
import { inTransaction } from '../state/database.js';
import type { Principal } from './admin-tokens.js';
import { type AdministrationContext, byWhom } from './context.js';
import { removeNamed } from './policies.js';

export interface LaunchDescription {
  readonly name: string;
  readonly version: number;
  readonly author: string;
  /** ISO 8601. */
  readonly createdAt: string;
  readonly launch: LaunchKind;
}

/** Expects a kind of launch from now on. @throws InvalidArgumentError for one that no careful owner would expect */
export async function setLaunch(
  { state, policies }: AdministrationContext,
  owners: Pick<BrokerOwners, 'check'>,
  { name, launch }: { readonly name: string; readonly launch: LaunchKind },
  who: Principal,
): Promise<{ readonly name: string; readonly version: number }> {
  await owners.check(name, launch);
  const content = new TextEncoder().encode(JSON.stringify(launch));
  const author = byWhom(who);
  return inTransaction(state.db, async (tx) => {
    const now = state.clock.now();
    const { version } = await policies.set(tx, { name, kind: 'launch', content, author, now });
    state.record.append(tx, {
      kind: 'administration',
      subject: `launch ${name}`,
      body: {
        act: 'launch.set',
        by: author,
        name,
        version,
        policy: launch.policy,
        digests: launch.digests.map(({ digest }) => digest),
        ...(launch.references.length === 0 ? {} : { references: launch.references }),
        secrets: launch.secrets.map(({ resource: path }) => path),
      },
    });
    return { name, version };
  });
}

export async function listLaunches({ state, policies }: AdministrationContext): Promise<LaunchDescription[]> {
  const stored = await policies.list(state.db.query, ['launch']);
  return stored.map(({ name, version, author, createdAt, content }) => ({
    name,
    version,
    author,
    createdAt,
    launch: parseLaunchKind(content),
  }));
}

/** @throws NotFoundError */
export async function deleteLaunch(
  context: AdministrationContext,
  name: string,
  who: Principal,
): Promise<void> {
  await removeNamed(context, { name, kind: 'launch', act: 'launch.delete' }, who);
}
