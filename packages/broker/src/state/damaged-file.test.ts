import { copyFileSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { UnavailableError, verdict } from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import { temporaryFolder } from '../../../kds/src/testing/temporary.js';
import { checkpointFile } from '../record/outside-copy.js';
import { verifyRecord } from '../record/verify.js';
import { openDatabase } from './database.js';
import { openState } from './testing/state.js';

async function closedDatabase(folder: string): Promise<string> {
  const file = join(folder, 'state', 'broker.db');
  const state = await openState(`sqlite:${file}`);
  for (let n = 0; n < 40; n++) {
    await state.record.appendAlone({ kind: 'challenge', body: { n, filler: 'x'.repeat(400) } });
  }
  await state.close();
  return file;
}

describe('a database file', () => {
  it('and the folder that is made for it are its owner’s only', async () => {
    const folder = temporaryFolder();
    const file = join(folder, 'state', 'broker.db');
    const state = await openState(`sqlite:${file}`);
    for (const each of [file, `${file}-wal`, `${file}-shm`]) expect(statSync(each).mode & 0o777).toBe(0o600);
    expect(statSync(join(folder, 'state')).mode & 0o777).toBe(0o700);
    await state.close();
  });

  it('that is truncated is refused, wherever it was cut', async () => {
    const folder = temporaryFolder();
    const file = await closedDatabase(folder);
    const { size } = statSync(file);
    for (const part of [0.02, 0.2, 0.5, 0.8, 0.95]) {
      const cut = join(folder, `cut${part}.db`);
      copyFileSync(file, cut);
      truncateSync(cut, Math.floor(size * part));
      const error: unknown = await openState(`sqlite:${cut}`).catch((reason: unknown) => reason);
      expect(error, `${part}`).toBeInstanceOf(UnavailableError);
      expect(String(error)).toContain('database disk image is malformed');
    }
  });

  it('that is gone, or cut to nothing, is a new one, unless there is an outside copy', async () => {
    const folder = temporaryFolder();
    const file = join(folder, 'broker.db');
    const outside = checkpointFile(join(folder, 'checkpoint'));
    await (await openState(`sqlite:${file}`, { outside })).close();
    for (const suffix of ['', '-wal', '-shm']) rmSync(file + suffix, { force: true });
    await expect(openState(`sqlite:${file}`, { outside })).rejects.toThrow(/state.rollback/);
    const emptied = join(folder, 'emptied.db');
    writeFileSync(emptied, '');
    await expect(openState(`sqlite:${emptied}`, { outside })).rejects.toThrow(/state.rollback/);
  });

  it('in which one byte of an entry was changed: the entry is named', async () => {
    const folder = temporaryFolder();
    const file = await closedDatabase(folder);
    const before = await openDatabase(`sqlite:${file}`);
    const entries = before.query.selectFrom('record_entries').selectAll().where('sequence', '=', 20);
    const { body } = await entries.executeTakeFirstOrThrow();
    await before.close();
    const bytes = readFileSync(file);
    const at = bytes.indexOf(body.subarray(0, 64));
    expect(at).toBeGreaterThan(0);
    bytes[at + 30]! ^= 1;
    writeFileSync(file, bytes);
    const state = await openState(`sqlite:${file}`);
    const { failed } = verdict(await verifyRecord(state));
    expect(failed[0]).toMatchObject({
      id: 'record.chain',
      found: expect.stringMatching(/^entry 20 of replica one/),
    });
  });

  it('that is no database is said to be damaged', async () => {
    const file = join(temporaryFolder(), 'broker.db');
    writeFileSync(file, 'x'.repeat(9000));
    const error: unknown = await openDatabase(`sqlite:${file}`).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(UnavailableError);
    expect(error).toMatchObject({ message: expect.stringContaining('not a database') });
  });

  it.each(['', 'mysql://host/db', 'broker.db', 'sqlite:', 'http://alice:s3cret@host/x'])(
    'is not told from %j, nor is a password repeated',
    async (url) => {
      const error: unknown = await openDatabase(url).catch((reason: unknown) => reason);
      expect(error).toMatchObject({ code: 'invalid-argument', hint: expect.stringContaining('sqlite:PATH') });
      expect(String(error)).not.toContain('s3cret');
    },
  );

  it('a server that is not there is unavailable, and its password is not repeated', async () => {
    const error: unknown = await openDatabase('postgres://alice:s3cret@127.0.0.1:1/x').catch(
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(UnavailableError);
    expect(String(error)).not.toContain('s3cret');
    expect(String(error)).toContain('postgres://127.0.0.1:1/x');
  });
});
