import { type Check, RefusedError, UnavailableError, verdict } from '@vouchsafe/sev';
import { sql } from 'kysely';
import { expect, it } from 'vitest';
import { inTransaction } from '../state/database.js';
import type { BrokerState } from '../state/open.js';
import { copyOf } from '../state/testing/dump.js';
import { onEveryEngine } from '../state/testing/engines.js';
import { masterKey, openState, release, secretOf, testTime } from '../state/testing/state.js';
import type { SignedCheckpoint } from './checkpoint.js';
import { entryHash } from './entry.js';
import type { OutsideCopy } from './outside-copy.js';
import { verifyRecord } from './verify.js';

const path = 'default/key/disk';

/** What somebody who can write to the database does, and which checks see it, naming what. */
interface Tampering {
  readonly title: string;
  readonly edit: (state: BrokerState) => Promise<unknown>;
  readonly seen: Readonly<Record<string, RegExp>>;
}

const entry = (n: number) => new RegExp(`entry ${n} of replica one \\(reference [0-9-]{19}\\)`);

function set(
  state: BrokerState,
  sequence: number,
  change: Record<string, string | number | Uint8Array | null>,
) {
  return state.db.query.updateTable('record_entries').set(change).where('sequence', '=', sequence).execute();
}

async function rowOf(state: BrokerState, sequence: number) {
  const rows = state.db.query.selectFrom('record_entries').selectAll().where('sequence', '=', sequence);
  return rows.executeTakeFirstOrThrow();
}

const flipped = (bytes: Uint8Array, at = bytes.length >> 1) =>
  bytes.map((byte, i) => (i === at ? byte ^ 1 : byte));

const tamperings: Tampering[] = [
  {
    title: 'one byte of a body',
    edit: async (state) => set(state, 3, { body: flipped((await rowOf(state, 3)).body) }),
    seen: { 'record.chain': entry(3), 'record.sealed': entry(3) },
  },
  {
    title: 'one byte of a hash',
    edit: async (state) => set(state, 3, { hash: flipped((await rowOf(state, 3)).hash) }),
    seen: { 'record.chain': entry(3) },
  },
  {
    title: 'a time that is later',
    edit: (state) => set(state, 3, { at: '2040-01-01T00:00:00.000Z' }),
    seen: { 'record.chain': entry(3), 'record.sealed': entry(3), 'record.clock': entry(4) },
  },
  {
    title: 'a kind',
    edit: (state) => set(state, 4, { kind: 'challenge' }),
    seen: { 'record.chain': entry(4), 'record.sealed': entry(4) },
  },
  {
    title: 'a reference number',
    edit: (state) => set(state, 4, { reference: '0000-0000-0000-0000' }),
    seen: { 'record.chain': entry(4), 'record.sealed': entry(4) },
  },
  {
    title: 'a subject',
    edit: (state) => set(state, 2, { subject: new Uint8Array(32) }),
    seen: { 'record.chain': entry(2) },
  },
  {
    title: 'an entry whose hash was computed anew, with all that follow',
    edit: async (state) => {
      let previous = (await rowOf(state, 2)).hash;
      for (const sequence of [3, 4, 5]) {
        const row = { ...(await rowOf(state, sequence)), previous };
        if (sequence === 3) row.body = flipped(row.body);
        previous = entryHash(row);
        await set(state, sequence, { body: row.body, previous: row.previous, hash: previous });
      }
      await state.db.query.updateTable('replicas').set({ hash: previous }).execute();
    },
    seen: {
      'record.sealed': /entry 3 .*entry 4 .*entry 5 /,
      'record.heads': /end of replica one was not written by this broker/,
      'record.joined': /entry 5 of replica one is not the one of the checkpoints/,
    },
  },
  {
    title: 'an entry taken out',
    edit: (state) => state.db.query.deleteFrom('record_entries').where('sequence', '=', 3).execute(),
    seen: { 'record.chain': /entry 3 of replica one missing/, 'record.state': /releases of version 1/ },
  },
  {
    title: 'the newest entries cut off',
    edit: (state) => state.db.query.deleteFrom('record_entries').where('sequence', '>', 4).execute(),
    seen: {
      'record.heads': /replica one ends with entry 4, it had got to 5/,
      'record.joined': /entry 5 of replica one is missing/,
    },
  },
  {
    title: 'two entries exchanged',
    edit: async (state) => {
      const [three, four] = [await rowOf(state, 3), await rowOf(state, 4)];
      await set(state, 3, { reference: 'x' });
      for (const [to, { replica: _replica, sequence: _sequence, ...row }] of [
        [4, three],
        [3, four],
      ] as const) {
        await set(state, to, row);
      }
    },
    seen: { 'record.chain': entry(3), 'record.sealed': entry(3) },
  },
  {
    title: 'an entry with text where bytes belong',
    edit: (state) => sql`update record_entries set body = 'text' where sequence = 3`.execute(state.db.query),
    seen: { 'record.chain': entry(3), 'record.sealed': entry(3) },
  },
  {
    title: 'the end of the chain',
    edit: (state) => state.db.query.updateTable('replicas').set({ sequence: 4 }).execute(),
    seen: { 'record.heads': /end of replica one was not written by this broker/ },
  },
  {
    title: 'the end of the chain taken out',
    edit: (state) => state.db.query.deleteFrom('replicas').execute(),
    seen: { 'record.heads': /nothing says where the chain of replica one ends/ },
  },
  {
    title: 'a checkpoint’s text',
    edit: (state) =>
      sql`update record_checkpoints set document = replace(document, '2030', '2031') where number = 1`.execute(
        state.db.query,
      ),
    seen: { 'record.checkpoints': /checkpoint 1 is not signed by this broker; checkpoint 2 follows none/ },
  },
  {
    title: 'a checkpoint taken out',
    edit: (state) => state.db.query.deleteFrom('record_checkpoints').where('number', '=', 1).execute(),
    seen: { 'record.checkpoints': /checkpoint 2 follows none/ },
  },
  {
    title: 'the newest checkpoint taken out',
    edit: (state) => state.db.query.deleteFrom('record_checkpoints').where('number', '=', 2).execute(),
    seen: { 'record.outside': /no checkpoint 2 of .* in the database/ },
  },
];

onEveryEngine('a record that was edited by hand', (newDatabase) => {
  async function prepared(outside: OutsideCopy) {
    const state = await openState(newDatabase(), { outside });
    await inTransaction(state.db, (tx) =>
      state.resources.put(tx, path, { secret: secretOf('v1'), releaseLimit: 2 }, 'alice'),
    );
    await release(state, path, ['k1', 's']);
    await release(state, path, ['k2', 's']);
    await state.record.appendAlone({ kind: 'broker', body: { event: 'noted' } });
    await state.record.checkpoint();
    return state;
  }

  it('is named, by whatever was edited', async () => {
    const outside = memoryCopy();
    const state = await prepared(outside);
    const restore = await copyOf(state.db);
    for (const { title, edit, seen } of tamperings) {
      expect(verdict(await verifyRecord({ ...state, outside })).word, `before ${title}`).toBe('accepted');
      await edit(state);
      const { failed } = verdict(await verifyRecord({ ...state, outside }));
      const isOpen = !failed.some(({ id }) => id === 'record.sealed');
      const expected = isOpen ? seen : { ...seen, 'record.state': /entries cannot be opened$/ };
      expect(failed.map(({ id }) => id).sort(), title).toEqual(Object.keys(expected).sort());
      for (const { id, found } of failed)
        expect(found, `${title}: ${id}`).toMatch((expected as Tampering['seen'])[id]!);
      await restore();
    }
  });

  it('cut back to an old state of one chain: a checkpoint of another replica knows better', async () => {
    const url = newDatabase();
    const one = await openState(url);
    const two = await openState(url, { replica: 'two' });
    const restore = await copyOf(one.db, ['replicas', 'record_entries']);
    await one.record.appendAlone({ kind: 'broker', body: {} });
    await two.record.checkpoint();
    await restore();
    const { failed } = verdict(await verifyRecord(one));
    expect(failed.map(idAndFound)).toEqual(['record.joined: entry 2 of replica one is missing']);
  });

  it('all of it put back to an old state: only the outside copy can tell, and does, when it opens and when it verifies', async () => {
    const outside = memoryCopy();
    const url = newDatabase();
    const state = await openState(url, { outside });
    await inTransaction(state.db, (tx) =>
      state.resources.put(tx, path, { secret: secretOf('v1'), releaseLimit: 1 }, 'alice'),
    );
    const restore = await copyOf(state.db);
    expect(await release(state, path, ['k1', 's'])).toBe('v1');
    await state.record.checkpoint();
    await restore();

    expect(verdict(await verifyRecord(state)).word).toBe('authentic');
    const { failed } = verdict(await verifyRecord({ ...state, outside }));
    expect(failed.map(idAndFound)).toEqual([
      expect.stringMatching(/^record.outside: no checkpoint 2 of 2030-.* in the database$/),
    ]);
    await expectRefused(openState(url, { outside, replica: 'two' }), 'state.rollback', /database without it/);

    // A broker that does not look outside goes on, and then the numbers are taken by others.
    const blind = await openState(url);
    await blind.record.checkpoint();
    await expectRefused(openState(url, { outside }), 'state.rollback', /another checkpoint of this number/);
    expect(verdict(await verifyRecord({ ...blind, outside })).failed.map(idAndFound)).toEqual([
      'record.outside: another checkpoint 2 in the database',
    ]);
  });

  it('an empty database in place of the old one', async () => {
    const outside = memoryCopy();
    await openState(newDatabase(), { outside });
    await expectRefused(openState(newDatabase(), { outside }), 'state.rollback', /another database signed/);
    const other = await openState(newDatabase());
    expect(verdict(await verifyRecord({ ...other, outside })).failed.map(idAndFound)).toEqual([
      'record.outside: a checkpoint that another database signed',
    ]);
    const empty = verdict(await verifyRecord({ ...other, outside: memoryCopy() }));
    expect(empty.failed.map(idAndFound)).toEqual(['record.outside: no checkpoint there']);
    const failing = { ...memoryCopy(), read: () => Promise.reject(new UnavailableError('witness', 'gone')) };
    expect(verdict(await verifyRecord({ ...other, outside: failing })).failed.map(idAndFound)).toEqual([
      'record.outside: witness: gone',
    ]);
  });

  it('a replica that lost the end of its chain does not begin a new one', async () => {
    const url = newDatabase();
    const state = await openState(url);
    await state.db.query.deleteFrom('replicas').execute();
    await expectRefused(openState(url), 'state.row', /although the chain has begun/);
    await expectRefused(
      state.record.appendAlone({ kind: 'broker', body: {} }),
      'state.row',
      /chain has begun/,
    );
    await expect(state.close()).resolves.toBeUndefined();
  });

  it('a checkpoint that was edited is no ground for the next', async () => {
    const state = await openState(newDatabase());
    await sql`update record_checkpoints set document = replace(document, '2030', '2031')`.execute(
      state.db.query,
    );
    await expectRefused(state.record.checkpoint(), 'state.row', /signature of other text/);
  });
});

onEveryEngine('secrets that were edited by hand', (newDatabase) => {
  const ask = (state: BrokerState, key = 'k2') => release(state, path, [key, 's']);

  async function prepared() {
    const state = await openState(newDatabase());
    await inTransaction(state.db, async (tx) => {
      await state.resources.put(tx, path, { secret: secretOf('v1'), releaseLimit: 1 }, 'alice');
      await state.resources.put(tx, `${path}2`, { secret: secretOf('other') }, 'alice');
    });
    expect(await ask(state, 'k1')).toBe('v1');
    expect(await ask(state, 'k2')).toBe('used-up');
    return state;
  }

  it.each<[string, (state: BrokerState) => Promise<unknown>, RegExp]>([
    [
      'a limit raised',
      ({ db }) => sql`update resource_versions set release_limit = 9`.execute(db.query),
      /1 differs/,
    ],
    [
      'a limit lifted',
      ({ db }) => sql`update resource_versions set release_limit = null`.execute(db.query),
      /1 differs/,
    ],
    [
      'a count set back',
      ({ db }) => sql`update resource_versions set released = 0`.execute(db.query),
      /1 differs/,
    ],
    [
      'a validity',
      ({ db }) => sql`update resource_versions set not_after = '2099'`.execute(db.query),
      /1 differs/,
    ],
    [
      'a resource revived',
      ({ db }) => sql`update resources set latest_version = 0`.execute(db.query),
      /resources .* differs/,
    ],
    [
      'a version taken out',
      async ({ db }) => {
        await db.query.deleteFrom('released').execute();
        await db.query.deleteFrom('resource_versions').execute();
      },
      /no such row/,
    ],
    [
      'a holder put in',
      async ({ db }) => {
        const [row] = await db.query.selectFrom('released').selectAll().execute();
        await db.query
          .insertInto('released')
          .values({ ...row!, guest_key: 'k2' })
          .execute();
      },
      /released .* differs/,
    ],
  ])('%s: refused', async (_title, edit, found) => {
    const state = await prepared();
    await edit(state);
    await expectRefused(ask(state), 'state.row', found);
  });

  it('the content of another secret in its place: refused', async () => {
    const state = await prepared();
    const [one, two] = await Promise.all(
      [path, `${path}2`].map(async (each) => (await state.resources.describe(state.db, each))!.id),
    );
    const versions = state.db.query.selectFrom('resource_versions').select(['wrapped_key', 'ciphertext']);
    const content = await versions.where('resource_id', '=', one!).executeTakeFirstOrThrow();
    await state.db.query
      .updateTable('resource_versions')
      .set(content)
      .where('resource_id', '=', two!)
      .execute();
    await expectRefused(release(state, `${path}2`, ['k', 's']), 'state.row', /something else in its place/);
    await state.db.query.updateTable('resource_versions').set({ ciphertext: null }).execute();
    await expectRefused(release(state, `${path}2`, ['k', 's']), 'state.row', /something else in its place/);
  });

  it('rows put back to an old state release again; the record knows better', async () => {
    const state = await openState(newDatabase());
    await inTransaction(state.db, (tx) =>
      state.resources.put(tx, path, { secret: secretOf('v1'), releaseLimit: 1 }, 'alice'),
    );
    const restore = await copyOf(state.db, ['resources', 'resource_versions', 'released']);
    expect(await ask(state, 'k1')).toBe('v1');
    await restore();
    expect(verdict(await verifyRecord(state)).failed.map(idAndFound)).toEqual([
      expect.stringMatching(
        /^record.state: resource [0-9a-f]{32}: releases of version 1: 0, by the record 1; .*holders of version 1: 0, by the record 1$/,
      ),
    ]);
    await inTransaction(state.db, (tx) => state.resources.delete(tx, path, {}, 'alice'));
    await restore();
    expect(verdict(await verifyRecord(state)).failed[0]!.found).toMatch(
      /version 1 is there, by the record deleted/,
    );
  });
});

onEveryEngine('a database that is not this broker’s', (newDatabase) => {
  it('is not opened with another master key', async () => {
    const url = newDatabase();
    await (await openState(url)).close();
    await expectRefused(openState(url, { masterKey: masterKey(2) }), 'state.master-key', /local:/);
    // Whoever edits the key's name as well still has not the key.
    const state = await openState(url);
    await state.db.query
      .updateTable('root_keys')
      .set({ master: masterKey(2).id })
      .execute();
    await expectRefused(openState(url, { masterKey: masterKey(2) }), 'state.master-key', /cannot unwrap/);
  });

  it('is not given a new root key when it has lost its own', async () => {
    const url = newDatabase();
    const state = await openState(url);
    await state.db.query.deleteFrom('root_keys').execute();
    await expectRefused(openState(url), 'state.master-key', /none, in a database that is in use/);
    await state.db.query.deleteFrom('broker_state').where('name', '=', 'database').execute();
    await expectRefused(openState(url), 'state.master-key', /none, in a database that is in use/);
  });

  it('is not opened by a clock that is behind what it has seen', async () => {
    const url = newDatabase();
    let now = testTime;
    const first = await openState(url, { now: () => now });
    now += 3_600_000;
    await first.record.appendAlone({ kind: 'broker', body: {} });
    now -= 60_000;
    await first.record.appendAlone({ kind: 'broker', body: {} });
    now -= 1;
    await expectRefused(
      first.record.appendAlone({ kind: 'broker', body: {} }),
      'broker.clock',
      /2030-01-01T00:58:59.999Z/,
    );
    await expectRefused(openState(url, { now: () => now }), 'broker.clock', /2030-01-01T00:58:59.999Z/);

    const accepting = await openState(url, { now: () => now, acceptClock: true });
    await expect(accepting.record.appendAlone({ kind: 'broker', body: {} })).resolves.toMatch(/^\d/);
    const { failed } = verdict(await verifyRecord(accepting));
    expect(failed.map(({ id }) => id)).toEqual(['record.clock']);
  });
});

const idAndFound = ({ id, found }: Check) => `${id}: ${found}`;

async function expectRefused(work: Promise<unknown>, check: string, found: RegExp): Promise<void> {
  const error: unknown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(RefusedError);
  const [failed] = verdict((error as RefusedError).appraisal).failed;
  expect(failed!.id).toBe(check);
  expect(failed!.found).toMatch(found);
}

function memoryCopy(): OutsideCopy {
  let kept: SignedCheckpoint | undefined;
  return {
    name: 'witness',
    read: async () => kept,
    write: async (checkpoint) => {
      kept = checkpoint;
    },
  };
}
