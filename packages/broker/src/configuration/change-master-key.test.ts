import {
  chmodSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { RefusedError, systemRandom, toBase64, verdict } from '@vouchsafe/sev';
import { expect, it, onTestFinished } from 'vitest';
import { temporaryFolder } from '../../../kds/src/testing/temporary.js';
import { initialiseBroker } from '../broker.js';
import { newestEntries } from '../record/read.js';
import { verifyRecord } from '../record/verify.js';
import { createMasterKeyFile } from '../secrets/master-key.js';
import { startFakeVault } from '../secrets/testing/fake-vault.js';
import { inTransaction, openDatabase } from '../state/database.js';
import { type BrokerState, openBrokerState } from '../state/open.js';
import { Executioner } from '../state/testing/crash.js';
import { copyOf } from '../state/testing/dump.js';
import { onEveryEngine } from '../state/testing/engines.js';
import { release, secretOf, testTime } from '../state/testing/state.js';
import { changeConfiguredMasterKey } from './change-master-key.js';
import { configurationText } from './configuration.js';
import { configuredState } from './open.js';

const path = 'a/b/c';
const environment = { KEY_3: toBase64(new Uint8Array(32).fill(3)), VAULT_TOKEN: 'test-token' };
const surroundings = { environment, random: systemRandom, now: () => testTime };
const next = { file: 'next.key' };

/** A broker's folder with one secret in the database. */
async function brokerFolder(database: string): Promise<string> {
  const folder = temporaryFolder();
  const text = configurationText({ listen: '127.0.0.1:0', database });
  writeFileSync(join(folder, 'broker.toml'), `replica = "one"\n${text}`);
  chmodSync(join(folder, 'broker.toml'), 0o640);
  await createMasterKeyFile(join(folder, 'master.key'), systemRandom);
  const { state } = await configuredState(folder, surroundings);
  await initialiseBroker(state);
  state.masterKey.close();
  const opened = await open(folder);
  await inTransaction(opened.db, (tx) => opened.resources.put(tx, path, { secret: secretOf('v1') }, 'alice'));
  await opened.close();
  return folder;
}

/** The state as a broker of this folder opens it. */
async function open(folder: string): Promise<BrokerState> {
  const { state: options } = await configuredState(folder, surroundings);
  const state = await openBrokerState(options).finally(() => options.masterKey.close());
  let isClosed = false;
  const close = async () => {
    if (isClosed) return;
    isClosed = true;
    await state.close();
  };
  onTestFinished(() => close().catch(() => undefined));
  return { ...state, close };
}

const setUp = (folder: string) => readFileSync(join(folder, 'broker.toml'), 'utf8');

async function changes({ db, keys }: BrokerState) {
  const entries = await newestEntries(db, keys, { kind: 'administration' });
  return entries.map(({ body }) => body).filter(({ act }) => act === 'master-key.change');
}

onEveryEngine('a folder’s broker that gets another master key', (newDatabase) => {
  it('goes on while it runs, and opens with the new one afterwards', async () => {
    const folder = await brokerFolder(newDatabase());
    const text = setUp(folder);
    const running = await open(folder);
    const { id, before } = await changeConfiguredMasterKey(folder, next, surroundings);
    expect(await release(running, path, ['k', 's'])).toBe('v1');
    expect(setUp(folder)).toBe(text.replace('"master.key"', '"next.key"'));
    expect(statSync(join(folder, 'broker.toml')).mode & 0o777).toBe(0o640);
    expect(statSync(join(folder, 'next.key')).mode & 0o777).toBe(0o600);
    expect(readdirSync(folder).filter((name) => name.endsWith('.tmp'))).toEqual([]);
    const by = 'broker master-key change';
    expect(await changes(running)).toEqual([{ act: 'master-key.change', by, from: before, to: id }]);
    expect(verdict(await verifyRecord(running)).failed).toEqual([]);
    await running.close();

    const restarted = await open(folder);
    expect(await release(restarted, path, ['k', 's'])).toBe('v1');
    expect(verdict(await verifyRecord(restarted)).failed).toEqual([]);
    await restarted.close();
    writeFileSync(join(folder, 'broker.toml'), text);
    await expect(open(folder)).rejects.toMatchObject({
      appraisal: {
        checks: [{ id: 'state.master-key', hint: expect.stringContaining('broker master-key change') }],
      },
    });
  });

  it('moves between a file, the environment and Vault', async () => {
    const { address } = await startFakeVault();
    const folder = await brokerFolder(newDatabase());
    const vault = { vault: { address, key: 'broker', 'token-environment': 'VAULT_TOKEN' } };
    let last = '';
    for (const place of [vault, { environment: 'KEY_3' }, next]) {
      const { id, before } = await changeConfiguredMasterKey(folder, place, surroundings);
      expect(before).toMatch(last === '' ? /^local:/ : last);
      last = id;
      const state = await open(folder);
      expect(verdict(await verifyRecord(state)).failed).toEqual([]);
      await state.close();
    }
    expect(await changes(await open(folder))).toHaveLength(3);
  });

  it('is told by the same command where its own broker.toml lags behind, without the old key', async () => {
    const folder = await brokerFolder(newDatabase());
    const old = setUp(folder);
    const { id } = await changeConfiguredMasterKey(folder, next, surroundings);
    const changed = setUp(folder);
    writeFileSync(join(folder, 'broker.toml'), old);
    renameSync(join(folder, 'master.key'), join(folder, 'moved.key'));
    const again = await changeConfiguredMasterKey(folder, next, surroundings);
    expect(again).toEqual({ id, before: undefined });
    expect(setUp(folder)).toBe(changed);
    expect(await changes(await open(folder))).toHaveLength(1);
  });

  it('stays as it is with a key that is not its own, and where the new one cannot be', async () => {
    const folder = await brokerFolder(newDatabase());
    const text = setUp(folder);
    const unchanged = async () => {
      expect(setUp(folder)).toBe(text);
      expect(readdirSync(folder).filter((name) => /tmp|next/.test(name))).toEqual([]);
      const state = await open(folder);
      expect(await changes(state)).toEqual([]);
      await state.close();
    };
    const nowhere = changeConfiguredMasterKey(folder, { file: 'none/next.key' }, surroundings);
    await expect(nowhere).rejects.toThrow(/cannot write .*next\.key \(ENOENT\)/);
    await unchanged();
    const unset = changeConfiguredMasterKey(folder, { environment: 'KEY_4' }, surroundings);
    await expect(unset).rejects.toMatchObject({ argument: 'KEY_4' });
    await unchanged();
    const master = readFileSync(join(folder, 'master.key'));
    writeFileSync(join(folder, 'master.key'), `${environment.KEY_3}\n`);
    await expect(changeConfiguredMasterKey(folder, next, surroundings)).rejects.toThrow(RefusedError);
    expect(existsSync(join(folder, 'next.key'))).toBe(false);
    writeFileSync(join(folder, 'master.key'), master);
    await unchanged();
  });

  it('is not made where there was none', async () => {
    const folder = temporaryFolder();
    const database = newDatabase();
    writeFileSync(join(folder, 'broker.toml'), configurationText({ listen: '127.0.0.1:0', database }));
    await createMasterKeyFile(join(folder, 'master.key'), systemRandom);
    const change = changeConfiguredMasterKey(folder, next, surroundings);
    await expect(change).rejects.toThrow('has not been initialised');
    expect(existsSync(join(folder, 'next.key'))).toBe(false);
  });

  it('killed between two statements, is what it was or what it should be, and the command given again ends it', async () => {
    const url = newDatabase();
    const folder = await brokerFolder(url);
    const old = setUp(folder);
    const outside = readFileSync(join(folder, 'checkpoint.json'));
    const db = await openDatabase(url);
    const restore = await copyOf(db);
    await db.close();
    const seen = new Set<string>();
    for (let n = 1; ; n++) {
      const witness = await openDatabase(url);
      const executioner = new Executioner(url, witness);
      executioner.killAt(n);
      const died: unknown = await changeConfiguredMasterKey(folder, next, {
        ...surroundings,
        // From the making of the key on; opening the state has tests of its own.
        faultPoint: (name) =>
          existsSync(join(folder, 'next.key')) ? executioner.faultPoint(name) : undefined,
      }).then(
        () => undefined,
        (reason: unknown) => reason,
      );
      await witness.close();
      const { left } = executioner;
      expect([left, died], `fault point ${n}`).not.toContain(undefined);
      // What is left to be done after that is the closing of the state.
      const isOver = setUp(folder).includes('next.key');
      writeFileSync(join(folder, 'broker.toml'), setUp(folder).replace(url, left!));
      const { before } = await changeConfiguredMasterKey(folder, next, surroundings);
      if (!isOver) seen.add(before === undefined ? 'sealed' : 'not sealed');
      const state = await open(folder);
      expect(await changes(state), `fault point ${n}`).toHaveLength(1);
      expect(verdict(await verifyRecord(state)).failed, `fault point ${n}`).toEqual([]);
      expect(setUp(folder)).toContain('file = "next.key"');
      await state.close();
      if (isOver) break;
      writeFileSync(join(folder, 'broker.toml'), old);
      writeFileSync(join(folder, 'checkpoint.json'), outside);
      rmSync(join(folder, 'next.key'));
      const again = await openDatabase(url);
      await restore(again);
      await again.close();
    }
    expect(seen).toEqual(new Set(['not sealed', 'sealed']));
  });
});
