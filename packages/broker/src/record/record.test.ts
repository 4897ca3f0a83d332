import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { appraisalToJson, verdict } from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import { temporaryFolder } from '../../../kds/src/testing/temporary.js';
import { inTransaction } from '../state/database.js';
import { onEveryEngine } from '../state/testing/engines.js';
import { openState, release, secretOf, testTime } from '../state/testing/state.js';
import { readCheckpoint } from './checkpoint.js';
import type { RecordEntry } from './entry.js';
import { checkpointFile, type OutsideCopy } from './outside-copy.js';
import { exportRecord, findEntry, newestEntries } from './read.js';
import { verifyRecord } from './verify.js';

const note = (n: number) => ({ kind: 'challenge', body: { n } }) as const;

onEveryEngine('the record', (newDatabase) => {
  it('has an entry if and only if what it records happened', async () => {
    const state = await openState(newDatabase());
    const { db, record, keys } = state;
    const [kept] = await inTransaction(db, async (tx) => [
      record.append(tx, note(1)),
      record.append(tx, note(2)),
    ]);
    let lost = '';
    const failing = inTransaction(db, async (tx) => {
      lost = record.append(tx, note(3));
      throw new RangeError('stop');
    });
    await expect(failing).rejects.toThrow(RangeError);
    expect(kept).toMatch(/^\d{4}-\d{4}-\d{4}-\d{4}$/);
    expect(await findEntry(db, keys, kept!)).toEqual({
      replica: 'one',
      sequence: 2,
      reference: kept,
      at: new Date(testTime).toISOString(),
      kind: 'challenge',
      body: { n: 1 },
    });
    expect(await findEntry(db, keys, lost)).toBeUndefined();
    const entries = await newestEntries(db, keys);
    expect(entries.map(({ kind, body }) => [kind, body['n'] ?? body['event']])).toEqual([
      ['broker', 'opened'],
      ['challenge', 1],
      ['challenge', 2],
    ]);
  });

  it('tells of puts, releases and their repetition, by path, and shows nothing of that in the database', async () => {
    const { db, record, resources, keys, ...state } = await openState(newDatabase());
    const all = { db, record, resources, keys, ...state };
    const path = 'default/luks/very-private-name';
    await inTransaction(db, (tx) =>
      resources.put(tx, path, { secret: secretOf('s3cret'), releaseLimit: 1 }, 'alice'),
    );
    for (const each of ['k1', 'k2', 'k1']) await release(all, path, [each, 's']);
    const entries = await newestEntries(db, keys, { subject: path });
    expect(entries.map(summary)).toEqual([
      'administration secret.put by alice',
      'release 1 to k1 counted',
      'release 1 to k1 again',
    ]);
    expect(await newestEntries(db, keys, { subject: 'default/luks/other' })).toEqual([]);
    expect((await newestEntries(db, keys, { kind: 'release', limit: 1 })).map(summary)).toEqual([
      'release 1 to k1 again',
    ]);
    const text = await everything(all);
    for (const secret of ['s3cret', 'very-private-name', 'luks']) expect(text).not.toContain(secret);
  });

  it('of many at once in two replicas is two chains, joined by checkpoints', async () => {
    const url = newDatabase();
    const folder = temporaryFolder();
    const outside = checkpointFile(join(folder, 'checkpoint'));
    const replicas = await Promise.all([
      openState(url, { outside }),
      openState(url, { replica: 'two', checkpointEvery: 2 }),
    ]);
    await Promise.all(Array.from({ length: 30 }, (_, i) => replicas[i % 2]!.record.appendAlone(note(i))));
    const { document } = await replicas[0]!.record.checkpoint();
    expect(readCheckpoint(document).heads.map(({ replica, sequence }) => [replica, sequence])).toEqual([
      ['one', 16],
      ['two', 16],
    ]);
    expect((await outside.read())!.document).toBe(document);
    expect((await replicas[0]!.record.checkpoint()).document).toBe(document);
    await replicas[1]!.record.close();

    const appraisal = await verifyRecord({ ...replicas[0]!, outside });
    expect(verdict(appraisal)).toMatchObject({ accepted: true, word: 'accepted', failed: [] });
    expect(appraisal.checks.at(-1)).toMatchObject({ id: 'record.outside', status: 'pass' });
    expect(appraisal.checks[0]!.found).toBe('32 entries of 2 replicas');
  });

  it('without an outside copy says that a rollback could not be noticed', async () => {
    const state = await openState(newDatabase());
    const appraisal = await verifyRecord(state);
    expect(verdict(appraisal)).toMatchObject({ accepted: true, word: 'authentic' });
    expect(appraisal.checks.at(-1)).toMatchObject({
      id: 'record.outside',
      status: 'not-asked',
      hint: expect.stringContaining('rollback of the whole database could not be noticed'),
    });
    expect(appraisalToJson(appraisal).checks).toHaveLength(8);
  });

  it('a replica goes on with its chain when it comes back', async () => {
    const url = newDatabase();
    const first = await openState(url);
    await first.record.appendAlone(note(1));
    await first.close();
    const second = await openState(url);
    await second.record.appendAlone(note(2));
    const entries = await newestEntries(second.db, second.keys);
    expect(entries.map(({ sequence }) => sequence)).toEqual([1, 2, 3, 4]);
    expect(verdict(await verifyRecord(second)).accepted).toBe(true);
  });

  it('is exported whole: what a reader needs to follow the chains', async () => {
    const state = await openState(newDatabase());
    await state.record.appendAlone({ kind: 'decision', subject: 'a/b/c', body: { allowed: false } });
    await state.record.checkpoint();
    const lines: { entry?: RecordEntry & { previous: string; hash: string }; checkpoint?: string }[] = [];
    await exportRecord(state.db, state.keys, (line) => void lines.push(JSON.parse(line)));
    expect(lines.map((line) => Object.keys(line)[0])).toEqual(['entry', 'entry', 'checkpoint', 'checkpoint']);
    expect(lines[1]!.entry).toMatchObject({ kind: 'decision', subject: 'a/b/c', body: { allowed: false } });
    expect(lines[1]!.entry!.previous).toBe(lines[0]!.entry!.hash);
    expect(readCheckpoint(lines[3]!.checkpoint!).heads[0]!.hash).toBe(lines[1]!.entry!.hash);
  });

  it('checkpoints are made by themselves, after entries or after a time; failures are told', async () => {
    const told: unknown[] = [];
    let now = testTime;
    let isBroken = false;
    const written: string[] = [];
    const outside: OutsideCopy = {
      name: 'witness',
      read: async () => undefined,
      async write({ document }) {
        if (isBroken) throw new RangeError('gone');
        written.push(document);
      },
    };
    const state = await openState(newDatabase(), {
      outside,
      now: () => now,
      checkpointEvery: 3,
      checkpointInterval: 1000,
      onCheckpoint: (failure) => void told.push(failure),
    });
    const { record } = state;
    expect(written).toHaveLength(1);
    for (const n of [1, 2]) await record.appendAlone(note(n));
    await record.checkpointIfDue();
    expect(written).toHaveLength(1);
    await record.appendAlone(note(3));
    await record.checkpointIfDue();
    expect(written).toHaveLength(2);
    await record.appendAlone(note(4));
    now += 1000;
    await record.checkpointIfDue();
    expect(written).toHaveLength(3);
    isBroken = true;
    await record.appendAlone(note(5));
    now += 1000;
    await record.checkpointIfDue();
    expect(told).toEqual([undefined, undefined, new RangeError('gone')]);
    isBroken = false;
    now += 4999;
    await record.checkpointIfDue();
    expect(written).toHaveLength(3);
    now += 1;
    await record.checkpointIfDue();
    expect(written).toHaveLength(4);
    expect(verdict(await verifyRecord(state)).accepted).toBe(true);
  });
});

describe('an outside copy in a file', () => {
  it('is private, and is not there before the first checkpoint', async () => {
    const path = join(temporaryFolder(), 'checkpoint');
    const outside = checkpointFile(path);
    expect(await outside.read()).toBeUndefined();
    expect(existsSync(path)).toBe(false);
    await outside.write({ document: '{}', signature: Uint8Array.of(1) });
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(await outside.read()).toEqual({ document: '{}', signature: Uint8Array.of(1) });
  });
});

function summary({ kind, body }: RecordEntry): string {
  if (kind === 'administration') return `${kind} ${body['act']} by ${body['by']}`;
  const how = body['again'] === true ? 'again' : body['counted'] === true ? 'counted' : '';
  return `${kind} ${body['version']} to ${body['guestKey']} ${how}`;
}

/** Every byte of every row, as text. */
async function everything({ db }: { db: Awaited<ReturnType<typeof openState>>['db'] }): Promise<string> {
  const tables = [
    'resources',
    'resource_versions',
    'released',
    'record_entries',
    'record_checkpoints',
    'root_keys',
  ] as const;
  const rows = await Promise.all(tables.map((name) => db.query.selectFrom(name).selectAll().execute()));
  return rows
    .flat(1)
    .flatMap((row) => Object.values(row))
    .map((value: unknown) =>
      value instanceof Uint8Array ? Buffer.from(value).toString('latin1') : String(value),
    )
    .join('\n');
}
