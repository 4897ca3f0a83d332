import { randomUUID } from 'node:crypto';
import { access, open, realpath, rename, rm, stat } from 'node:fs/promises';
import { UnavailableError, VouchsafeError } from '@vouchsafe/sev';
import { requireInitialised } from '../administration/initialised.js';
import { createMasterKeyFile, type MasterKey } from '../secrets/master-key.js';
import { changeMasterKey, isSealedUnder } from '../secrets/root-key.js';
import { openDatabase } from '../state/database.js';
import { type BrokerStateOptions, openBrokerState } from '../state/open.js';
import type { BrokerConfiguration, MasterKeyPlace } from './configuration.js';
import { withMasterKey } from './master-key-section.js';
import { lockedState, openMasterKey, readConfiguration, type Surroundings, within } from './open.js';

export interface ChangedMasterKey {
  /** Tells the key apart; nothing can be learnt from it. */
  readonly id: string;
  /** The one before it; undefined when the database was sealed under the new one already. */
  readonly before: string | undefined;
}

/**
 * Seals the database of a folder's broker under another master key, and then lets `broker.toml` name that one. A key
 * file that is missing is made. Brokers may be running over the same database; they go on.
 *
 * Killed at any moment, it leaves a database that one of the two keys opens, and done again with the same arguments it
 * does what is left, if only to `broker.toml`. That is also how the folder of another replica learns of the change.
 * @param place as `broker.toml` is to name it
 * @throws RefusedError (`state.master-key`) when neither this key nor the one that `broker.toml` names is the database's
 * @throws InvalidArgumentError, UnavailableError naming the file, the variable or the service; nothing was changed then,
 * unless the database stopped to answer in the middle
 */
export async function changeConfiguredMasterKey(
  folder: string,
  place: MasterKeyPlace,
  surroundings: Surroundings & Pick<BrokerStateOptions, 'faultPoint'>,
): Promise<ChangedMasterKey> {
  const { path, text, configuration } = await readConfiguration(folder);
  const { faultPoint } = surroundings;
  const state = {
    ...lockedState(folder, configuration, surroundings),
    ...(faultPoint === undefined ? {} : { faultPoint }),
  };
  // Before the database is touched, so that nothing but a renaming is left to fail after it.
  const next = await writeBeside(path, withMasterKey(text, place, path));
  try {
    const work = { folder, place, surroundings, state, configuration, finish: next.takePlace };
    const found = await openUnlessMissing(work);
    if (found === undefined) return await change(work, undefined);
    try {
      if (!(await isSealed(state.database, found))) return await change(work, found);
      await next.takePlace();
      return { id: found.id, before: undefined };
    } finally {
      found.close();
    }
  } finally {
    await next.discard();
  }
}

interface Work {
  readonly folder: string;
  readonly place: MasterKeyPlace;
  readonly surroundings: Surroundings;
  readonly state: Omit<BrokerStateOptions, 'masterKey'>;
  readonly configuration: BrokerConfiguration;
  /** Called when the database is sealed under the new key. */
  finish(): Promise<void>;
}

/** @param found the new key, unless it has to be made */
async function change(work: Work, found: MasterKey | undefined): Promise<ChangedMasterKey> {
  const { folder, surroundings, configuration } = work;
  const from = await openMasterKey(folder, configuration['master-key'], surroundings);
  let made: MasterKey | undefined;
  try {
    const state = await openBrokerState({ ...work.state, masterKey: from });
    try {
      await requireInitialised(state);
      if (found === undefined) made = await makeFile(work);
      const to = found ?? made!;
      await changeMasterKey(state.db, from, to, (tx) => {
        state.record.append(tx, {
          kind: 'administration',
          subject: 'master key',
          body: { act: 'master-key.change', by: 'broker master-key change', from: from.id, to: to.id },
        });
      });
      await work.finish();
      return { id: to.id, before: from.id };
    } finally {
      await state.close();
    }
  } finally {
    made?.close();
    from.close();
  }
}

async function isSealed(database: string, key: MasterKey): Promise<boolean> {
  const db = await openDatabase(database);
  try {
    return await isSealedUnder(db, key);
  } finally {
    await db.close();
  }
}

async function openUnlessMissing({ folder, place, surroundings }: Work): Promise<MasterKey | undefined> {
  if (place.file !== undefined && !(await isThere(within(folder, place.file)))) return undefined;
  return openMasterKey(folder, place, surroundings);
}

async function makeFile({ folder, place, surroundings }: Work): Promise<MasterKey> {
  const path = within(folder, place.file!);
  await naming(path, () => createMasterKeyFile(path, surroundings.random));
  return openMasterKey(folder, place, surroundings);
}

/** A file beside another, with its mode, until it takes the other's place. */
async function writeBeside(path: string, text: string) {
  return naming(path, async () => {
    // The set-up may be a link to where it is kept.
    const target = await realpath(path);
    const { mode } = await stat(target);
    const draft = `${target}.${randomUUID()}.tmp`;
    const discard = () => rm(draft, { force: true });
    try {
      const handle = await open(draft, 'wx', 0o600);
      try {
        await handle.writeFile(text);
        await handle.chmod(mode & 0o777);
        await handle.sync();
      } finally {
        await handle.close();
      }
    } catch (error) {
      await discard();
      throw error;
    }
    return { takePlace: () => naming(path, () => rename(draft, target)), discard };
  });
}

async function naming<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (cause instanceof VouchsafeError || !(cause instanceof Error) || !('code' in cause)) throw cause;
    throw new UnavailableError('broker', `cannot write ${path} (${String(cause.code)})`, {
      cause,
      hint: 'check that its folder is there and may be written to, then give the same command again',
    });
  }
}

const isThere = (path: string) =>
  access(path).then(
    () => true,
    (error: NodeJS.ErrnoException) => error.code !== 'ENOENT',
  );
