import { cp, readFile } from 'node:fs/promises';
import { type Broker, checkpointFile } from '@vouchsafe/broker';
import { RefusedError, verdict } from '@vouchsafe/sev';
import type { BrokerAttack, Outcome } from '../attack.js';
import { flipped } from '../interfering-host.js';
import { required } from './answers.js';
import { brokerOutcome } from './outcome.js';
import { type BrokerRig, diskKey } from './world.js';

/** Whoever can write to the database, put back an old copy of it, or turn the broker's clock. */

const flow = 'database and record';
const modes = ['broker'] as const;
const refusedByBroker = { flow, modes, refusedBy: 'broker' } as const;
const hour = 3_600_000;
const once = { path: 'machines/keys/once', content: 'for one key alone' } as const;

async function asksFor(rig: BrokerRig, path: string, at: Broker = rig.broker) {
  const guest = await rig.guest();
  const { cookie } = await guest.attested(at);
  return guest.get(path, { cookie }, at);
}

/** A one-time secret that one client has had. */
async function releasedOnce(rig: BrokerRig): Promise<void> {
  await rig.store(once.path, once.content, { releases: 1 });
  required(await asksFor(rig, once.path));
}

/** The database as it is at this moment, in a file of its own. */
async function copyOf({ file }: BrokerRig): Promise<string> {
  const copy = `${file}.copy`;
  for (const suffix of ['', '-wal']) await cp(`${file}${suffix}`, `${copy}${suffix}`);
  return copy;
}

/** Whether a broker opens over what it is given. */
async function openingOutcome(otherwise: string, open: () => Promise<Broker>): Promise<Outcome> {
  try {
    await open();
  } catch (error) {
    if (!(error instanceof RefusedError)) throw error;
    const [failed] = verdict(error.appraisal).failed;
    return { refusedBy: 'broker', at: failed?.id ?? 'no check', evidence: error.message };
  }
  return { refusedBy: 'nobody', at: otherwise, evidence: 'the broker opened it' };
}

/** What `vouchsafe broker audit verify` finds. */
async function recordOutcome(rig: BrokerRig, otherwise: string): Promise<Outcome> {
  const { text } = required(await rig.administer('GET', '/audit/verify'));
  const { checks } = JSON.parse(text) as {
    readonly checks: readonly { readonly id: string; readonly status: string; readonly found?: string }[];
  };
  const failed = checks.find(({ status }) => status === 'fail');
  return failed === undefined
    ? { refusedBy: 'nobody', at: otherwise, evidence: 'the record was found to be whole' }
    : { refusedBy: 'broker', at: failed.id, evidence: failed.found ?? 'otherwise' };
}

export const databaseAttacks: readonly BrokerAttack[] = [
  {
    id: 'database-read',
    flow,
    modes,
    title: 'Somebody reads the database’s file, to find secrets and what they are called',
    refusedBy: 'harmless',
    at: 'ciphertext, names included',
    async run(_world, rig) {
      const file = Buffer.concat([await readFile(rig.file), await readFile(`${rig.file}-wal`)]);
      const found = [diskKey.content, diskKey.path].filter((text) => file.includes(text));
      return found.length === 0
        ? {
            refusedBy: 'harmless',
            at: 'ciphertext, names included',
            evidence: `neither of them stands in ${file.length} bytes`,
          }
        : {
            refusedBy: 'nobody',
            at: 'what the broker keeps',
            evidence: `${found.length} of them stand there`,
          };
    },
  },
  {
    ...refusedByBroker,
    id: 'release-limit-raised',
    title: 'Somebody raises the number of releases of a one-time secret in the database',
    at: 'state.row',
    async run(_world, rig) {
      await releasedOnce(rig);
      const { query } = rig.broker.state.db;
      await query.updateTable('resource_versions').set({ release_limit: 9 }).execute();
      return brokerOutcome(rig, 'one secret under two keys', await asksFor(rig, once.path));
    },
  },
  {
    ...refusedByBroker,
    id: 'secrets-exchanged',
    title: 'Somebody puts one secret’s ciphertext in the place of another’s',
    at: 'state.row',
    async run(_world, rig) {
      await rig.store('public/notes/motd', 'good morning');
      const { query } = rig.broker.state.db;
      const [secret, other] = await query
        .selectFrom('resource_versions')
        .select(['resource_id', 'wrapped_key', 'ciphertext'])
        .orderBy('created_at')
        .execute();
      const { wrapped_key, ciphertext } = secret!;
      await query
        .updateTable('resource_versions')
        .set({ wrapped_key, ciphertext })
        .where('resource_id', '=', other!.resource_id)
        .execute();
      return brokerOutcome(rig, 'a secret under a public name', await asksFor(rig, 'public/notes/motd'));
    },
  },
  {
    ...refusedByBroker,
    id: 'record-entry-changed',
    title: 'Somebody changes one bit of an entry in the record',
    at: 'record.chain',
    async run(_world, rig) {
      const { query } = rig.broker.state.db;
      const entries = query.selectFrom('record_entries').select('body').where('sequence', '=', 2);
      const { body } = await entries.executeTakeFirstOrThrow();
      const changed = query.updateTable('record_entries').set({ body: flipped(body) });
      await changed.where('sequence', '=', 2).execute();
      return recordOutcome(rig, 'a record that tells something else');
    },
  },
  {
    ...refusedByBroker,
    id: 'record-cut-off',
    title: 'Somebody takes the newest entries out of the record',
    at: 'record.heads',
    async run(_world, rig) {
      const { query } = rig.broker.state.db;
      await query.deleteFrom('record_entries').where('sequence', '>', 3).execute();
      return recordOutcome(rig, 'a release that nobody knows of');
    },
  },
  {
    ...refusedByBroker,
    id: 'database-without-its-key',
    title: 'Somebody opens the database under a master key of their own',
    at: 'state.master-key',
    async run(_world, rig) {
      const masterKey = await rig.otherMasterKey();
      return openingOutcome('all that it keeps', () => rig.open({ masterKey }));
    },
  },
  {
    ...refusedByBroker,
    id: 'database-rolled-back',
    title: 'Somebody puts an old copy of the whole database back; a checkpoint is kept outside of it',
    at: 'state.rollback',
    async run(_world, rig) {
      const outside = checkpointFile(`${rig.file}.checkpoint`);
      const copy = await copyOf(rig);
      await rig.open({ outside });
      return openingOutcome('one secret under two keys', () =>
        rig.open({ outside, database: `sqlite:${copy}` }),
      );
    },
  },
  {
    ...refusedByBroker,
    id: 'clock-set-back',
    title: 'Somebody sets the broker’s clock back, for what has expired to hold again',
    at: 'broker.clock',
    async run(_world, rig) {
      const guest = await rig.guest();
      const { cookie } = await guest.attested();
      rig.pass(-hour);
      const answer = await guest.get(diskKey.path, { cookie });
      // A broker does not even close under such a clock.
      rig.pass(hour);
      return brokerOutcome(rig, 'what had expired', answer);
    },
  },
  {
    id: 'database-rolled-back-unseen',
    flow,
    modes,
    title: 'Somebody puts an old copy of the whole database back, and nothing is kept outside of it',
    refusedBy: 'nobody',
    at: 'a one-time secret, a second time',
    limit: {
      why: 'an old copy is as its broker wrote it, and nothing in it says that there is a newer one',
      caughtBy:
        '`state.rollback` where the newest checkpoint is kept outside of the database: a file beside the master key, or a witness; without one `vouchsafe broker audit verify` says that a rollback could not be noticed',
    },
    async run(_world, rig) {
      await rig.store(once.path, once.content, { releases: 1 });
      const copy = await copyOf(rig);
      required(await asksFor(rig, once.path));
      const old = await rig.open({ database: `sqlite:${copy}` });
      return brokerOutcome(rig, 'a one-time secret, a second time', await asksFor(rig, once.path, old));
    },
  },
  {
    id: 'rows-put-back',
    flow,
    modes,
    title: 'Somebody puts the rows of a one-time secret back to what they were before its release',
    refusedBy: 'nobody',
    at: 'a one-time secret, a second time',
    limit: {
      why: 'old rows are as the broker wrote them, and it does not read its whole record for each release',
      caughtBy:
        '`record.state`: `vouchsafe broker audit verify` counts the releases that the record tells of',
    },
    async run(_world, rig) {
      await rig.store(once.path, once.content, { releases: 1 });
      const { query } = rig.broker.state.db;
      const rows = await query.selectFrom('resource_versions').selectAll().execute();
      required(await asksFor(rig, once.path));
      await query.deleteFrom('released').execute();
      for (const { resource_id, version, ...row } of rows) {
        const before = query.updateTable('resource_versions').set(row);
        await before.where('resource_id', '=', resource_id).where('version', '=', version).execute();
      }
      const { at } = await recordOutcome(rig, 'a record that noticed nothing');
      if (at !== 'record.state') throw new TypeError(`the record says ${at}`);
      const answer = await asksFor(rig, once.path);
      return brokerOutcome(rig, 'a one-time secret, a second time', answer);
    },
  },
];
