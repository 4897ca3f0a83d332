import { chmodSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import {
  InvalidArgumentError,
  openSecret,
  RefusedError,
  Secret,
  systemRandom,
  toBase64,
  UnavailableError,
} from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import { temporaryFolder } from '../../../kds/src/testing/temporary.js';
import { inTransaction } from '../state/database.js';
import { onEveryEngine } from '../state/testing/engines.js';
import { masterKey, openState, release, secretOf } from '../state/testing/state.js';
import {
  createMasterKeyFile,
  localMasterKey,
  type MasterKey,
  masterKeyFromEnvironment,
  masterKeyFromFile,
} from './master-key.js';
import { changeMasterKey } from './root-key.js';
import { type FakeVault, startFakeVault } from './testing/fake-vault.js';
import { vaultTransitMasterKey } from './vault-transit.js';

const root = () => Secret.take(new Uint8Array(32).fill(9));
const token = (text = 'test-token') => secretOf(text);

function vaultKey({ address }: FakeVault, more: object = {}): MasterKey {
  return vaultTransitMasterKey({ address, token: token(), key: 'broker', ...more });
}

describe('master keys', () => {
  it.each<[string, () => MasterKey | Promise<MasterKey>]>([
    ['in memory', () => masterKey()],
    ['in Vault', async () => vaultKey(await startFakeVault())],
  ])('%s: what one wrapped it unwraps, in its context and unchanged', async (_name, make) => {
    const master = await make();
    const wrapped = await master.wrap(root(), 'here');
    expect(openSecret((await master.unwrap(wrapped, 'here'))!)).toEqual(openSecret(root()));
    expect(await master.unwrap(wrapped, 'there')).toBeUndefined();
    const changed = new TextDecoder('latin1').decode(wrapped).startsWith('vault:')
      ? new TextEncoder().encode(`vault:v1:${toBase64(systemRandom(72))}`)
      : wrapped.map((byte, i) => (i === 40 ? byte ^ 1 : byte));
    expect(await master.unwrap(changed, 'here')).toBeUndefined();
    expect(await masterKey(2).unwrap(wrapped, 'here')).toBeUndefined();
  });

  it('in a file: made once, private, read again', async () => {
    const path = join(temporaryFolder(), 'master.key');
    await createMasterKeyFile(path, systemRandom);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const text = readFileSync(path, 'utf8');
    expect(text).toMatch(/^[A-Za-z0-9+/]{43}=\n$/);
    await expect(createMasterKeyFile(path, systemRandom)).rejects.toThrow(/there is a master key already/);
    expect(readFileSync(path, 'utf8')).toBe(text);

    const master = await masterKeyFromFile(path, systemRandom);
    const same = masterKeyFromEnvironment({ KEY: text.trim() }, 'KEY', systemRandom);
    expect(same.id).toBe(master.id);
    const wrapped = await master.wrap(root(), 'here');
    expect((await same.unwrap(wrapped, 'here'))!.length).toBe(32);
    master.close();
    await expect(master.wrap(root(), 'here')).rejects.toThrow(/zeroed/);

    chmodSync(path, 0o640);
    await expect(masterKeyFromFile(path, systemRandom)).rejects.toThrow(/others can reach it \(mode 640\)/);
  });

  it('that are missing or something else: what is wrong, without what is there', async () => {
    const folder = temporaryFolder();
    await expect(masterKeyFromFile(join(folder, 'none'), systemRandom)).rejects.toThrow(UnavailableError);
    expect(() => masterKeyFromEnvironment({}, 'KEY', systemRandom)).toThrow(/KEY: expected the master key/);
    const wrong = ['hunter2 hunter2', toBase64(new Uint8Array(31).fill(7)), ''];
    for (const text of wrong) {
      const path = join(folder, `key${text.length}`);
      writeFileSync(path, text, { mode: 0o600 });
      const fromFile = await masterKeyFromFile(path, systemRandom).catch((error: unknown) => error);
      let fromEnvironment: unknown;
      try {
        masterKeyFromEnvironment({ KEY: text }, 'KEY', systemRandom);
      } catch (error) {
        fromEnvironment = error;
      }
      for (const error of [fromFile, fromEnvironment]) {
        expect(error).toBeInstanceOf(InvalidArgumentError);
        if (text !== '') expect(inspect(error)).not.toContain(text);
      }
    }
    expect(() => localMasterKey(Secret.take(new Uint8Array(16)), systemRandom)).toThrow(/it has 16 bytes/);
  });

  it('say nothing of themselves', () => {
    const bytes = new Uint8Array(32).fill(0xab);
    const master = localMasterKey(Secret.copyOf(bytes), systemRandom);
    for (const text of [inspect(master), JSON.stringify(master), master.id])
      expect(text).not.toMatch(/abab|q6ur/);
    expect(master.id).toMatch(/^local:[0-9a-f]{16}$/);
  });
});

describe('a master key in Vault', () => {
  it.each([
    ['http://vault.example:8200', /expected https/],
    ['ftp://127.0.0.1', /expected https/],
    ['vault', /expected https/],
    ['https://user:secret@vault.example', /no user in it/],
  ])('is not asked for at %s', (address, message) => {
    expect(() => vaultTransitMasterKey({ address, token: token(), key: 'broker' })).toThrow(message);
  });

  it.each([{ key: '../../sys/seal' }, { key: 'a?b' }, { mount: '..' }, { key: '' }])(
    'has a name that stays in its place: %j',
    (name) => {
      const options = { address: 'https://vault.example', token: token(), key: 'broker', ...name };
      expect(() => vaultTransitMasterKey(options)).toThrow(/is no name in Vault/);
    },
  );

  it('that refuses says what it needs; one that is broken is unavailable', async () => {
    const vault = await startFakeVault();
    const stranger = vaultTransitMasterKey({ address: vault.address, token: token('other'), key: 'broker' });
    const error: unknown = await stranger.wrap(root(), 'here').catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(UnavailableError);
    expect(error).toMatchObject({ hint: expect.stringContaining('update') });
    await expect(stranger.unwrap(new Uint8Array(), 'here')).rejects.toThrow(/status 403/);
    for (const [status, text] of [
      [503, '{}'],
      [200, 'no JSON'],
      [200, '{"data":{}}'],
      [200, `"${'x'.repeat(70_000)}"`],
    ] as const) {
      vault.breakWith(status, text);
      await expect(vaultKey(vault).wrap(root(), 'here'), text.slice(0, 20)).rejects.toThrow(UnavailableError);
      await expect(vaultKey(vault).unwrap(new Uint8Array(), 'here')).rejects.toThrow(UnavailableError);
    }
  });

  it('that does not answer in time, or not at all, is unavailable, and its token is in no error', async () => {
    const hanging: typeof fetch = (_url, init) =>
      new Promise((_resolve, reject) =>
        init!.signal!.addEventListener('abort', () => reject(init!.signal!.reason)),
      );
    const failing: typeof fetch = (_url, init) => Promise.reject(new Error(JSON.stringify(init)));
    for (const fetch of [hanging, failing]) {
      const master = vaultTransitMasterKey({
        address: 'https://vault.example',
        token: token(),
        key: 'broker',
        fetch,
        timeout: 1,
      });
      const error: unknown = await master.wrap(root(), 'here').catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(UnavailableError);
      expect(inspect(error, { depth: 9 })).not.toContain('test-token');
    }
  });
});

onEveryEngine('a database under a master key in Vault', (newDatabase) => {
  it('asks Vault when it is opened, and at no release', async () => {
    const vault = await startFakeVault();
    const url = newDatabase();
    const path = 'a/b/c';
    const first = await openState(url, { masterKey: vaultKey(vault) });
    await inTransaction(first.db, (tx) => first.resources.put(tx, path, { secret: secretOf('v1') }, 'alice'));
    await first.close();
    const encrypt = 'POST /v1/transit/encrypt/broker';
    const decrypt = 'POST /v1/transit/decrypt/broker';
    expect(vault.requests).toEqual([encrypt, decrypt]);
    const second = await openState(url, { masterKey: vaultKey(vault) });
    expect(await release(second, path, ['k', 's'])).toBe('v1');
    expect(vault.requests).toEqual([encrypt, decrypt, decrypt]);
  });

  it('can change to another master key while brokers run', async () => {
    const vault = await startFakeVault();
    const url = newDatabase();
    const path = 'a/b/c';
    const running = await openState(url);
    await inTransaction(running.db, (tx) =>
      running.resources.put(tx, path, { secret: secretOf('v1') }, 'alice'),
    );
    await changeMasterKey(running.db, masterKey(), vaultKey(vault));
    expect(await release(running, path, ['k', 's'])).toBe('v1');
    await expect(openState(url)).rejects.toThrow(RefusedError);
    await expect(changeMasterKey(running.db, masterKey(), masterKey(2))).rejects.toThrow(RefusedError);
    const other = await openState(url, { masterKey: vaultKey(vault), replica: 'two' });
    expect(await release(other, path, ['k', 's'])).toBe('v1');
  });
});
