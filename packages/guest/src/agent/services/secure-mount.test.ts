import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { InvalidArgumentError, RefusedError, Secret, systemRandom, UnavailableError } from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import { createImage, createVolume, leastVolumeSize } from '../../disk/create.js';
import { hasCryptsetup } from '../../disk/cryptsetup.js';
import { roundsForRandomKeys } from '../../disk/luks.js';
import { type HeaderJson, openToEverybody, rewriteHeader } from '../../testing/luks-header.js';
import { temporaryFolder } from '../../testing/temporary.js';
import { UnimplementedError } from '../unimplemented.js';
import { type SecureMountRequest, secureMount, systemCommands } from './secure-mount.js';

const volumeKey = systemRandom(32);
const asked: SecureMountRequest = {
  volumeType: 'block-device',
  options: { sourceType: 'encrypted', key: 'kbs:///default/disk/data', devicePath: '/dev/vdb' },
  flags: [],
  mountPoint: '/mnt',
};
const withOptions = (options: Record<string, string>): SecureMountRequest => ({
  ...asked,
  options: { ...asked.options, ...options },
});

/** What became of a mount: the commands that ran, and the keys that were handed out. */
async function mounting(request: SecureMountRequest, unlock: () => Promise<void> = async () => undefined) {
  const ran: unknown[] = [];
  const handedOut: Secret[] = [];
  const handOut = (source: string) => async (name: string) => {
    const secret = Secret.copyOf(volumeKey);
    handedOut.push(secret);
    ran.push(`${source} ${name}`);
    return secret;
  };
  const outcome = await secureMount(
    request,
    { resource: handOut('resource'), unseal: handOut('unseal') },
    {
      async unlock(volume, key, name) {
        ran.push([volume, key.length, name]);
        await unlock();
      },
      mount: async (...words) => void ran.push(words),
    },
  ).then(
    () => 'done' as const,
    (error: unknown) => error,
  );
  return { outcome, ran, handedOut };
}

describe('a secure mount', () => {
  it('fetches the key, unlocks the device and mounts what is in it; the key is zeroed', async () => {
    const { outcome, ran, handedOut } = await mounting({ ...asked, flags: ['ro', 'noexec'] });
    expect(outcome).toBe('done');
    expect(ran).toEqual([
      'resource kbs:///default/disk/data',
      ['/dev/vdb', 32, 'vouchsafe--dev-vdb'],
      ['/dev/mapper/vouchsafe--dev-vdb', '/mnt', 'ext4', ['ro', 'noexec']],
    ]);
    expect(handedOut.map(({ isZeroed }) => isZeroed)).toEqual([true]);
  });

  it('takes a device by its number before its path, a sealed key, a name and a file system', async () => {
    const { ran } = await mounting(
      withOptions({ deviceId: '254:16', key: 'sealed.a.b.c', mapperName: 'data', filesystemType: 'xfs' }),
    );
    expect(ran).toEqual([
      'unseal sealed.a.b.c',
      ['/dev/block/254:16', 32, 'data'],
      ['/dev/mapper/data', '/mnt', 'xfs', []],
    ]);
  });

  it('of a device mounts nothing', async () => {
    const { ran } = await mounting({ ...withOptions({ targetType: 'device' }), mountPoint: '' });
    expect(ran).toHaveLength(2);
  });

  it('that fails to unlock mounts nothing, and zeroes the key', async () => {
    const failure = new UnavailableError('cryptsetup', 'failed');
    const { outcome, ran, handedOut } = await mounting(asked, () => Promise.reject(failure));
    expect([outcome, ran.length]).toEqual([failure, 2]);
    expect(handedOut.map(({ isZeroed }) => isZeroed)).toEqual([true]);
  });

  const { key: _key, ...withoutKey } = asked.options;
  const { devicePath: _path, ...withoutDevice } = asked.options;
  it.each<[string, SecureMountRequest, new (...given: never[]) => Error, string]>([
    [
      'another type of volume',
      { ...asked, volumeType: 'alibaba-cloud-oss' },
      UnimplementedError,
      'block-device',
    ],
    ['no key', { ...asked, options: withoutKey }, UnimplementedError, 'makes none'],
    ['an empty source', withOptions({ sourceType: 'empty' }), UnimplementedError, 'makes none'],
    ['a key in a file', withOptions({ key: 'file:///key' }), UnimplementedError, 'key broker only'],
    ['zfs', withOptions({ encryptionType: 'zfs' }), UnimplementedError, 'luks2'],
    ['an option that there is not', withOptions({ surprise: '1' }), InvalidArgumentError, 'surprise'],
    ['no device', { ...asked, options: withoutDevice }, InvalidArgumentError, 'devicePath'],
    ['a device beside the root', withOptions({ devicePath: 'vdb' }), InvalidArgumentError, 'absolute'],
    ['a device of no number', withOptions({ deviceId: '../sda' }), InvalidArgumentError, 'MAJOR:MINOR'],
    ['another target', withOptions({ targetType: 'both' }), InvalidArgumentError, 'fileSystem'],
    [
      'a file system that is an option',
      withOptions({ filesystemType: '-o' }),
      InvalidArgumentError,
      'file system',
    ],
    ['a flag that is two', { ...asked, flags: ['ro,suid'] }, InvalidArgumentError, 'mount options'],
    ['no place to mount at', { ...asked, mountPoint: 'mnt' }, InvalidArgumentError, 'absolute'],
    ['a place that is two', { ...asked, mountPoint: '/mnt\0/etc' }, InvalidArgumentError, 'absolute'],
  ])('of %s is refused before a key is fetched', async (_what, request, kind, said) => {
    const { outcome, ran } = await mounting(request);
    expect(outcome).toBeInstanceOf(kind);
    expect((outcome as Error).message).toContain(said);
    expect(ran).toEqual([]);
  });
});

it('says so when mount fails', async () => {
  const place = temporaryFolder();
  await expect(systemCommands.mount(join(place, 'absent'), place, 'ext4', ['ro'])).rejects.toThrow(
    /absent could not be mounted at/,
  );
});

const installed = await hasCryptsetup();
if (!installed) it.skipIf(true)('cryptsetup is not installed (package cryptsetup-bin)', () => undefined);

describe.runIf(installed)('a host that wrote the header of the volume', () => {
  it.each<[string, string, (json: HeaderJson, bytes: Buffer) => void]>([
    ['disk.key-slots', 'whose slot opens with every key', openToEverybody],
    [
      'disk.encryption',
      'that says the data is not encrypted',
      (json) => {
        json.segments['0']!['encryption'] = 'cipher_null-ecb';
      },
    ],
  ])('is refused at %s: one %s', async (check, _what, change) => {
    const volume = join(temporaryFolder(), 'disk.img');
    await createImage(volume, leastVolumeSize);
    const key = () => Secret.copyOf(volumeKey);
    await createVolume({ volume, key: key(), rounds: roundsForRandomKeys });
    const hostile = `${volume}.hostile`;
    copyFileSync(volume, hostile);
    rewriteHeader(hostile, change);
    const keys = { resource: async () => key(), unseal: async () => key() };
    const refused = await secureMount(withOptions({ devicePath: hostile, mapperName: 'never' }), keys).catch(
      (error: unknown) => error,
    );
    if (!(refused instanceof RefusedError)) throw refused;
    const failed = refused.appraisal.checks.filter(({ status }) => status === 'fail');
    expect(failed.map(({ id }) => id)).toEqual([check]);
  });
});
