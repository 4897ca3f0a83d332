import { mkdirSync, readdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { LayerKeyError } from '@vouchsafe/protocol';
import {
  buildSecretTable,
  concat,
  MalformedError,
  openSecret,
  UnavailableError,
  wellKnownSecretGuids,
} from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import { describeWithVectors, jsonVector, vectorPath } from '../../../../sev/src/testing/vectors.js';
import { secretArea } from '../../firmware/layout.js';
import { folderSecretStore } from '../../secrets/folder-store.js';
import { openMemorySecretStore } from '../../secrets/memory-store.js';
import { base64, imageKey, packetOf, resourcesOf, unwrapRequest, utf8 } from '../../testing/agent-fixture.js';
import { FakeMachine } from '../../testing/fake-guest-view.js';
import { temporaryFolder } from '../../testing/temporary.js';
import { guestKeyProvider } from '../services/key-provider.js';
import { takeInjectedKeys } from './injected-keys.js';
import { readOfflineFiles } from './offline-files.js';
import { SecretAbsentError } from './resources.js';

const { offlineKeys } = wellKnownSecretGuids;
const one = base64(new Uint8Array(32).fill(1));
const hexOf = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

/** The kernel’s folder, with this as the agent’s entry. */
function injected(content: string | Uint8Array) {
  const folder = temporaryFolder();
  writeFileSync(join(folder, offlineKeys), content);
  return { folder, store: folderSecretStore(folder) };
}

describe('keys that were injected at launch', () => {
  it('open the layers that name them, in every spelling, and are wiped where they were', async () => {
    const { folder, store } = injected(
      JSON.stringify({ 'default/key/1': base64(imageKey), key_id2: base64(imageKey) }),
    );
    const keys = await takeInjectedKeys(store);
    expect(readdirSync(folder)).toEqual([]);
    const provider = guestKeyProvider(keys!);
    for (const name of ['kbs:///default/key/1', '/default/key/1']) {
      const answer = await provider.answer(utf8(unwrapRequest(await packetOf(name))), 'unwrap');
      const { keyunwrapresults } = JSON.parse(new TextDecoder().decode(answer)) as {
        keyunwrapresults: { optsdata: number[] };
      };
      expect(Buffer.from(keyunwrapresults.optsdata).toString()).toBe('the layer’s options');
    }
    const plain = JSON.parse(new TextDecoder().decode(await packetOf('kbs:///default/key/1'))) as object;
    const named = utf8(JSON.stringify({ ...plain, kid: 'key_id2' }));
    expect((await provider.answer(utf8(unwrapRequest(named)))).length).toBeGreaterThan(0);
    expect(await takeInjectedKeys(store)).toBeUndefined();
  });

  it('of another machine do not open a layer, and say which key it was', async () => {
    const { store } = injected(JSON.stringify({ 'default/key/1': one }));
    const provider = guestKeyProvider((await takeInjectedKeys(store))!);
    const request = utf8(unwrapRequest(await packetOf('kbs:///default/key/1')));
    await expect(provider.answer(request)).rejects.toThrow(LayerKeyError);
    await expect(provider.answer(request)).rejects.toThrow('kbs:///default/key/1');
    const absent = utf8(unwrapRequest(await packetOf('kbs:///default/key/2')));
    await expect(provider.answer(absent)).rejects.toThrow(SecretAbsentError);
  });

  it.each<[string, string | Uint8Array, string]>([
    ['cut off', `{"default/key/1":"${one}"`, '/'],
    ['with a key twice', `{"default/key/1":"${one}","default/key/1":"${one}"}`, '/'],
    [
      'with a key twice, in two spellings',
      `{"default/key/1":"${one}","kbs:///default/key/1":"${one}"}`,
      'secret 2',
    ],
    ['with a key of 31 bytes', `{"default/key/1":"${base64(new Uint8Array(31))}"}`, 'secret 1'],
    ['with a key that is no base64', '{"default/key/1":"?"}', 'secret 1'],
    ['with a key that is no text', '{"default/key/1":1}', 'secret 1'],
    ['with a key without a name', `{"":"${one}"}`, 'secret 1'],
    [
      'with more keys than any guest has',
      JSON.stringify(Object.fromEntries(Array.from({ length: 1025 }, (_, i) => [`k${i}`, '']))),
      '/',
    ],
    ['that is a list', '[]', '/'],
    ['that is no text', Uint8Array.of(0xff, 0xfe), '/'],
  ])('in a table %s are refused, and wiped all the same', async (_what, content, field) => {
    const { folder, store } = injected(content);
    const error: unknown = await takeInjectedKeys(store).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(MalformedError);
    expect(error).toMatchObject({ structure: 'injected keys', field });
    expect(String(error)).not.toContain(one);
    expect(readdirSync(folder)).toEqual([]);
  });

  it('in a file that never ends are refused by the reader of the folder', async () => {
    const { folder, store } = injected('');
    truncateSync(join(folder, offlineKeys), 64 * 1024 * 1024);
    await expect(takeInjectedKeys(store)).rejects.toThrow(UnavailableError);
  });
});

describe('the secret table in the guest’s memory', () => {
  /** A guest whose host put this where the firmware has secrets put. */
  async function guestWith(table: Uint8Array) {
    const machine = new FakeMachine();
    machine.memory(secretArea.base, table.length).set(table);
    return takeInjectedKeys(await openMemorySecretStore(machine.view));
  }
  const entry = (content: string) => ({ guid: offlineKeys, data: utf8(content) });
  const good = entry(JSON.stringify({ 'default/key/1': one }));
  const tableOf = (...entries: (typeof good)[]) => openSecret(buildSecretTable(entries)).slice();

  it('gives its keys', async () => {
    const keys = await guestWith(tableOf(good));
    expect(hexOf(openSecret((await keys!.find('default/key/1'))!))).toBe('01'.repeat(32));
  });

  const withLength = (length: number) => {
    const table = tableOf(good);
    new DataView(table.buffer).setUint32(16, length, true);
    return table;
  };
  /** The host cannot make one; whoever builds tables carelessly can. */
  const twice = () => {
    const table = tableOf(good);
    const entries = table.subarray(20, new DataView(table.buffer).getUint32(16, true));
    const both = concat(table.subarray(0, 20), entries, entries);
    new DataView(both.buffer).setUint32(16, both.length, true);
    return both;
  };
  it.each<[string, Uint8Array]>([
    ['of a length beyond the area', withLength(0x10_0000)],
    ['cut off inside an entry', withLength(40)],
    ['shorter than its own head', withLength(10)],
    ['with the agent’s entry twice', twice()],
  ])('%s is refused before a key is read', async (_what, table) => {
    await expect(guestWith(table)).rejects.toThrow(MalformedError);
  });
});

describe('secrets in files of the guest’s image', () => {
  it('are keys and others, by name', async () => {
    const folder = temporaryFolder();
    const files = { keys: join(folder, 'keys.json'), resources: join(folder, 'resources.json') };
    await expect(readOfflineFiles(files)).rejects.toThrow(UnavailableError);
    writeFileSync(files.resources, JSON.stringify({ 'default/policy/1': base64('a policy') }));
    const table = await readOfflineFiles(files);
    expect(new TextDecoder().decode(openSecret((await table.find('kbs:///default/policy/1'))!))).toBe(
      'a policy',
    );
    expect(await table.find('default/policy/2')).toBeUndefined();
    writeFileSync(files.keys, JSON.stringify({ 'default/key/1': base64('too short') }));
    await expect(readOfflineFiles(files)).rejects.toThrow(/key of 32 bytes/);
    mkdirSync(join(folder, 'folder'));
    await expect(readOfflineFiles({ ...files, keys: join(folder, 'folder') })).rejects.toThrow();
  });

  describeWithVectors('the sample of guest-components', () => {
    it('has ten keys, each of which opens what was wrapped with it', async () => {
      const path = 'kbs/offline-fs/aa-offline_fs_kbc-keys.json';
      const sample = jsonVector<Record<string, string>>(path);
      const provider = guestKeyProvider(
        await readOfflineFiles({ keys: vectorPath(path), resources: '/none' }),
      );
      expect(Object.keys(sample)).toHaveLength(10);
      for (const [name, text] of Object.entries(sample)) {
        const packet = await packetOf(`kbs:///${name}`, name, new Uint8Array(Buffer.from(text, 'base64')));
        const answer = await provider.answer(utf8(unwrapRequest(packet)));
        expect(new TextDecoder().decode(answer)).toContain([...utf8(name)].join(','));
      }
    });
  });
});

it('gives copies: who zeroes one leaves the next whole', async () => {
  const resources = resourcesOf({ 'a/b/c': 'content' });
  (await resources.find('a/b/c'))!.zero();
  expect(openSecret((await resources.find('a/b/c'))!).length).toBe(7);
});
