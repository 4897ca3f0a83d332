import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import {
  buildFirmwareFooter,
  buildSecretTable,
  concat,
  guidToBytes,
  InvalidArgumentError,
  isZero,
  MalformedError,
  openSecret,
  SecretTableAbsentError,
  secretTableGuid,
  UnavailableError,
  u32le,
  VouchsafeError,
  wellKnownSecretGuids,
  zeroGuid,
} from '@vouchsafe/sev';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { buildGuestFirmware } from '../firmware/image.js';
import { secretArea } from '../firmware/layout.js';
import { FakeMachine } from '../testing/fake-guest-view.js';
import { temporaryFolder } from '../testing/temporary.js';
import { folderSecretStore } from './folder-store.js';
import { materialise } from './materialise.js';
import { findSecretArea, openMemorySecretStore } from './memory-store.js';
import { type SecretStore, takeSecret } from './secret-store.js';

const text = (value: string) => new TextEncoder().encode(value);
const guids = [
  wellKnownSecretGuids.luksKey,
  wellKnownSecretGuids.offlineKeys,
  '00000000-0000-0000-0000-000000000001',
] as const;
type Given = readonly { guid: string; data: Uint8Array }[];
const given: Given = [
  { guid: guids[0], data: text('a pass-phrase\n') },
  { guid: guids[1], data: Uint8Array.from({ length: 5000 }, (_, i) => i & 0xff) },
  { guid: guids[2], data: new Uint8Array(0) },
];

function machineWith(table: Uint8Array): FakeMachine {
  const machine = new FakeMachine();
  machine.memory(secretArea.base, table.length).set(table);
  return machine;
}

const machineOf = (secrets: Given) => machineWith(openSecret(buildSecretTable(secrets)));

function folderOf(secrets: Given): string {
  const folder = join(temporaryFolder(), 'coco');
  mkdirSync(folder, { mode: 0o700 });
  for (const { guid, data } of secrets) writeFileSync(join(folder, guid), data, { mode: 0o440 });
  return folder;
}

const backends: Record<string, (secrets: Given) => Promise<SecretStore>> = {
  'guest memory': (secrets) => openMemorySecretStore(machineOf(secrets).view),
  'a folder as Linux shows it': async (secrets) => folderSecretStore(folderOf(secrets)),
  'a folder made from guest memory': async (secrets) =>
    materialise(await openMemorySecretStore(machineOf(secrets).view), join(temporaryFolder(), 'coco')),
};

describe.each(Object.entries(backends))('a secret store over %s', (_, open) => {
  const readText = async (store: SecretStore, guid: string) => openSecret(await store.read(guid));

  it('lists and reads every secret, byte for byte', async () => {
    const store = await open(given);
    expect([...(await store.list())].sort()).toEqual([...guids].sort());
    for (const { guid, data } of given) expect(await readText(store, guid)).toEqual(data);
  });

  it('takes GUIDs in either case', async () => {
    const store = await open(given);
    expect(await readText(store, guids[0].toUpperCase())).toEqual(given[0]!.data);
    await store.unlink(guids[0].toUpperCase());
    expect(await store.list()).not.toContain(guids[0]);
  });

  it('can be read more than once, each time as a copy', async () => {
    const store = await open(given);
    (await store.read(guids[0])).zero();
    expect(await readText(store, guids[0])).toEqual(given[0]!.data);
  });

  it('forgets what was unlinked, and nothing else', async () => {
    const store = await open(given);
    await store.unlink(guids[1]);
    expect([...(await store.list())].sort()).toEqual([guids[0], guids[2]].sort());
    await expect(store.read(guids[1])).rejects.toThrow(UnavailableError);
    await expect(store.unlink(guids[1])).rejects.toThrow(UnavailableError);
    expect(await readText(store, guids[0])).toEqual(given[0]!.data);
  });

  it('has none but its own', async () => {
    const store = await open(given);
    for (const guid of [zeroGuid, wellKnownSecretGuids.onlineConnection, '../secret', '', 'x'.repeat(300)]) {
      await expect(store.read(guid)).rejects.toThrow(UnavailableError);
      await expect(store.unlink(guid)).rejects.toThrow(UnavailableError);
    }
  });

  it('may be empty', async () => {
    expect(await (await open([])).list()).toEqual([]);
  });

  it('gives a secret away once: takeSecret', async () => {
    const store = await open(given);
    expect(openSecret(await takeSecret(store, guids[0]))).toEqual(given[0]!.data);
    await expect(takeSecret(store, guids[0])).rejects.toThrow(UnavailableError);
  });

  it('shows 64 secrets at most', async () => {
    const many = Array.from({ length: 65 }, (__, i) => ({
      guid: `00000000-0000-0000-0000-${String(i + 1).padStart(12, '0')}`,
      data: text('x'),
    }));
    expect(await (await open(many)).list()).toHaveLength(64);
  });
});

describe('the store over guest memory', () => {
  it('wipes data and name in memory, keeps the table readable, and leaves its neighbours', async () => {
    const machine = machineOf(given);
    const before = machine.memory(secretArea.base, secretArea.size).slice();
    const store = await openMemorySecretStore(machine.view);
    await store.unlink(guids[0]);

    const entry = machine.memory(secretArea.base + 20, 20 + given[0]!.data.length);
    expect(isZero(entry.subarray(0, 16))).toBe(true);
    expect(entry.subarray(16, 20)).toEqual(u32le(entry.length));
    expect(isZero(entry.subarray(20))).toBe(true);
    const after = machine.memory(secretArea.base, secretArea.size);
    expect(after.slice(0, 20)).toEqual(before.slice(0, 20));
    expect(after.slice(20 + entry.length)).toEqual(before.slice(20 + entry.length));
    expect(await (await openMemorySecretStore(machine.view)).list()).toEqual([guids[1], guids[2]]);
  });

  it('says so when memory keeps what was to be wiped', async () => {
    const { view } = machineOf(given);
    const store = await openMemorySecretStore({
      readPrivate: view.readPrivate,
      writePrivate: async () => undefined,
    });
    await expect(store.unlink(guids[0])).rejects.toThrow(/could not be wiped/);
  });

  it('reads the area from the footer in its own memory', async () => {
    expect(await findSecretArea(new FakeMachine().view)).toEqual(secretArea);
    const without = buildGuestFirmware();
    const footer = buildFirmwareFooter([]);
    without.set(footer, without.length - 32 - footer.length);
    await expect(findSecretArea(new FakeMachine({ firmware: without }).view)).rejects.toThrow(
      UnavailableError,
    );
  });

  it('tells noise, where nothing was injected, from a table', async () => {
    await expect(openMemorySecretStore(new FakeMachine().view)).rejects.toThrow(SecretTableAbsentError);
    await expect(openMemorySecretStore(machineWith(new Uint8Array(64)).view)).rejects.toThrow(
      SecretTableAbsentError,
    );
  });

  const head = (length: number) => concat(guidToBytes(secretTableGuid), u32le(length));
  const entry = (length: number) => concat(guidToBytes(guids[0]), u32le(length), new Uint8Array(8));
  it.each([
    ['a table shorter than its head', head(19)],
    ['a table longer than the area', head(secretArea.size + 1)],
    ['a table as long as a u32 can say', head(0xffff_ffff)],
    ['an entry shorter than its head', concat(head(48), entry(19))],
    ['an entry of no length', concat(head(48), entry(0))],
    ['an entry longer than the rest', concat(head(48), entry(29))],
    ['an entry that is cut', concat(head(39), entry(28))],
    ['two entries of one name', concat(head(76), entry(28), entry(28))],
  ])('refuses %s', async (_, table) => {
    await expect(openMemorySecretStore(machineWith(table).view)).rejects.toThrow(MalformedError);
  });

  it('raises typed errors only, whatever the area holds', async () => {
    const good = openSecret(buildSecretTable([given[0]!, given[2]!])).slice();
    const mutated = fc.tuple(fc.nat(good.length - 1), fc.integer({ min: 1, max: 255 }));
    await fc.assert(
      fc.asyncProperty(fc.array(mutated, { minLength: 1, maxLength: 4 }), async (changes) => {
        const table = good.slice();
        for (const [at, by] of changes) table[at]! ^= by;
        try {
          const store = await openMemorySecretStore(machineWith(table).view);
          for (const guid of await store.list()) await store.unlink(guid);
        } catch (error) {
          expect(error).toBeInstanceOf(VouchsafeError);
        }
      }),
    );
  });
});

describe('a folder of secrets', () => {
  it('is made for its user alone, with files that nobody may write', async () => {
    const folder = join(temporaryFolder(), 'coco');
    await materialise(await openMemorySecretStore(machineOf(given).view), folder);
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    for (const name of readdirSync(folder)) expect(lstatSync(join(folder, name)).mode & 0o777).toBe(0o440);
  });

  it('that was made from memory is wiped there too, and its file before it goes', async () => {
    const machine = machineOf(given);
    const folder = join(temporaryFolder(), 'coco');
    const store = await materialise(await openMemorySecretStore(machine.view), folder);
    const link = join(temporaryFolder(), 'link');
    linkSync(join(folder, guids[0]), link);
    await store.unlink(guids[0]);
    expect(existsSync(join(folder, guids[0]))).toBe(false);
    expect(readFileSync(link)).toEqual(Buffer.alloc(given[0]!.data.length));
    expect(isZero(machine.memory(secretArea.base + 40, given[0]!.data.length))).toBe(true);
  });

  it('is not mixed with what is there already', async () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'mine'), 'keep');
    const store = await openMemorySecretStore(machineOf(given).view);
    chmodSync(folder, 0o755);
    await expect(materialise(store, folder)).rejects.toThrow(InvalidArgumentError);
    expect(readFileSync(join(folder, 'mine'), 'utf8')).toBe('keep');
    expect(statSync(folder).mode & 0o777).toBe(0o755);
  });

  it('shows nothing but GUIDs, and follows no links', async () => {
    const folder = folderOf(given);
    writeFileSync(join(folder, 'README'), 'not a secret');
    symlinkSync(join(folder, guids[0]), join(folder, wellKnownSecretGuids.onlineConnection));
    const store = folderSecretStore(folder);
    expect(await store.list()).not.toContain('README');
    await expect(store.read(wellKnownSecretGuids.onlineConnection)).rejects.toThrow(UnavailableError);
  });

  it('does not read more than a launch secret can be', async () => {
    const folder = folderOf([]);
    writeFileSync(join(folder, guids[0]), new Uint8Array(16 * 1024 + 1));
    await expect(folderSecretStore(folder).read(guids[0])).rejects.toThrow(/more than/);
  });

  it('reads and removes files only', async () => {
    const folder = folderOf([]);
    mkdirSync(join(folder, guids[0]));
    await expect(folderSecretStore(folder).read(guids[0])).rejects.toThrow(UnavailableError);
    await expect(folderSecretStore(folder).unlink(guids[0])).rejects.toThrow(UnavailableError);
  });

  it('that cannot be made or written is an error', async () => {
    const store = await openMemorySecretStore(machineOf(given).view);
    const file = join(temporaryFolder(), 'file');
    writeFileSync(file, '');
    await expect(materialise(store, join(file, 'coco'))).rejects.toThrow(UnavailableError);
    const repeating = { ...store, list: async () => [guids[0], guids[0]] };
    const folder = join(temporaryFolder(), 'coco');
    await expect(materialise(repeating, folder)).rejects.toThrow(UnavailableError);
    expect(readdirSync(folder)).toEqual([]);
  });

  it('that is not there is an error that says how to get it', async () => {
    const missing = folderSecretStore(join(temporaryFolder(), 'none'));
    await expect(missing.list()).rejects.toThrow(UnavailableError);
    await expect(folderSecretStore().list()).rejects.toMatchObject({
      hint: expect.stringContaining('efi_secret'),
    });
  });
});
