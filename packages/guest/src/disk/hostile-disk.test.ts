import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MalformedError, RefusedError, Secret, systemRandom, toHex } from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import { type HeaderJson, openToEverybody, rewriteHeader } from '../testing/luks-header.js';
import { temporaryFolder } from '../testing/temporary.js';
import { createImage, createVolume, leastVolumeSize } from './create.js';
import { hasCryptsetup, spawnCryptsetup } from './cryptsetup.js';
import { roundsForRandomKeys, WrongDiskKeyError } from './luks.js';
import type { DiskCheck } from './luks-checks.js';
import { rekeyVolume } from './rekey.js';
import { unlockVolume } from './unlock.js';

const newKey = () => Secret.take(systemRandom(32));
const rounds = roundsForRandomKeys;
const installed = await hasCryptsetup();

async function makeVolume(key: Secret) {
  const volume = join(temporaryFolder(), 'disk.img');
  await createImage(volume, leastVolumeSize);
  return { volume, ...(await createVolume({ volume, key, rounds })) };
}

/** The checks that refuse. */
async function refusals(work: Promise<unknown>): Promise<readonly string[]> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof RefusedError)) throw error ?? new Error('it was not refused');
  return error.appraisal.checks.filter(({ status }) => status === 'fail').map(({ id }) => id);
}

describe('a LUKS2 volume on a hostile host', () => {
  if (!installed) {
    it.skipIf(true)('cryptsetup is not installed (package cryptsetup-bin)', () => undefined);
    return;
  }

  it('opens with its key, and says what it is bound to', async () => {
    const key = newKey();
    const { volume, binding } = await makeVolume(key);
    expect(await unlockVolume({ volume, key })).toEqual({ kind: 'luks2', binding });
    expect(await unlockVolume({ volume, key, binding })).toEqual({ kind: 'luks2', binding });
    const { stdout } = await spawnCryptsetup('cryptsetup', ['luksDump', volume]);
    expect(stdout).toMatch(/PBKDF: +pbkdf2/);
    expect(stdout).not.toContain('argon2');
  });

  it('whose header was replaced by one with the attacker’s key: no slot opens with the owner’s', async () => {
    const [key, attackers] = [newKey(), newKey()];
    const { volume, binding } = await makeVolume(key);
    const evil = await makeVolume(attackers);
    const bytes = readFileSync(volume);
    readFileSync(evil.volume).copy(bytes, 0, 0, 16 * 1024 * 1024);
    writeFileSync(volume, bytes);
    await expect(unlockVolume({ volume, key })).rejects.toThrow(WrongDiskKeyError);
    // With the binding it does not come to trying the key.
    expect(await refusals(unlockVolume({ volume, key, binding }))).toEqual(['disk.binding']);
  });

  it('whose header opens with every pass-phrase, to the attacker’s volume key', async () => {
    const key = newKey();
    const { volume, binding } = await makeVolume(key);
    rewriteHeader(volume, openToEverybody);
    expect(await refusals(unlockVolume({ volume, key }))).toEqual(['disk.key-slots']);
    expect(await refusals(unlockVolume({ volume, key, binding }))).toEqual([
      'disk.key-slots',
      'disk.binding',
    ]);
  });

  it.each<[string, DiskCheck[], (json: HeaderJson) => void]>([
    [
      'whose data is not to be encrypted',
      ['disk.encryption'],
      ({ segments }) => {
        segments['0']!['encryption'] = 'cipher_null-ecb';
      },
    ],
    [
      'part of which is not to be encrypted',
      ['disk.encryption'],
      ({ segments }) => {
        segments['0']!['size'] = '524288';
        segments['1'] = { type: 'linear', offset: '17301504', size: 'dynamic' };
      },
    ],
    [
      'in a re-encryption that never was begun',
      ['disk.state'],
      ({ config }) => {
        config['requirements'] = { mandatory: ['offline-reencrypt'] };
      },
    ],
    [
      'with a key slot of another cipher',
      ['disk.key-slots'],
      ({ keyslots }) => {
        keyslots['0']!.area['encryption'] = 'aes-ecb';
      },
    ],
  ])('%s', async (_what, expected, change) => {
    const key = newKey();
    const { volume } = await makeVolume(key);
    rewriteHeader(volume, change);
    expect(await refusals(unlockVolume({ volume, key }))).toEqual(expected);
  });

  it('that is another of the owner’s, under the same key', async () => {
    const key = newKey();
    const { volume } = await makeVolume(key);
    const { binding } = await makeVolume(key);
    expect(await unlockVolume({ volume, key })).toMatchObject({ kind: 'luks2' });
    expect(await refusals(unlockVolume({ volume, key, binding }))).toEqual(['disk.binding']);
  });

  it('is looked at in one copy: what the host answers later does not count', async () => {
    const key = newKey();
    const { volume, binding } = await makeVolume(key);
    const folder = temporaryFolder();
    const program = join(folder, 'cryptsetup');
    // The host exchanges the header between the look at it and the opening.
    const good = join(folder, 'good');
    copyFileSync(volume, good);
    rewriteHeader(volume, openToEverybody);
    const evil = join(folder, 'evil');
    copyFileSync(volume, evil);
    copyFileSync(good, volume);
    writeFileSync(
      program,
      `#!/bin/sh\ncp "${evil}" "${volume}"\nprintf '%s\\n' "$*" >> "${folder}/calls"\nexec cryptsetup "$@"\n`,
      { mode: 0o755 },
    );
    await expect(unlockVolume({ volume, key, binding, cryptsetup: program })).resolves.toMatchObject({
      binding,
    });
    await expect(unlockVolume({ volume, key: newKey(), binding, cryptsetup: program })).rejects.toThrow();
    expect(readFileSync(join(folder, 'calls'), 'utf8')).not.toContain(volume);
  });

  it('without any header', async () => {
    const key = newKey();
    const { volume } = await makeVolume(key);
    const bytes = readFileSync(volume);
    writeFileSync(volume, bytes.fill(0, 0, 65_536));
    await expect(unlockVolume({ volume, key })).rejects.toThrow(MalformedError);
  });
});

describe('re-keying a LUKS2 volume', () => {
  if (!installed) return;

  it('exchanges the pass-phrase; the binding stays, and an older image has no key any more', async () => {
    const [key, newer] = [newKey(), newKey()];
    const { volume, binding } = await makeVolume(key);
    const older = `${volume}.older`;
    copyFileSync(volume, older);
    expect(await rekeyVolume({ volume, key, newKey: newer, rounds, binding })).toEqual({ binding });
    await expect(unlockVolume({ volume, key: newer, binding })).resolves.toMatchObject({ kind: 'luks2' });
    await expect(unlockVolume({ volume, key, binding })).rejects.toThrow(WrongDiskKeyError);
    // Rolled back to before: the owner has withdrawn the key that it wants.
    await expect(unlockVolume({ volume: older, key: newer, binding })).rejects.toThrow(WrongDiskKeyError);
  });

  it('exchanges the volume key as well, and with it the binding', async () => {
    const [key, newer] = [newKey(), newKey()];
    const { volume, binding } = await makeVolume(key);
    const older = `${volume}.older`;
    copyFileSync(volume, older);
    const after = await rekeyVolume({ volume, key, newKey: newer, rounds, volumeKey: true });
    expect(toHex(after.binding)).not.toBe(toHex(binding));
    await expect(unlockVolume({ volume, key: newer, ...after })).resolves.toMatchObject({ kind: 'luks2' });
    // The old header in front of the new data: even whoever still has the old key gets nothing of it.
    expect(await refusals(unlockVolume({ volume: older, key, ...after }))).toEqual(['disk.binding']);
  });

  it('changes nothing for a wrong key, another volume or a header that is not sound', async () => {
    const [key, newer] = [newKey(), newKey()];
    const { volume, binding } = await makeVolume(key);
    const before = readFileSync(volume);
    const change = (given: { key?: Secret; binding?: Uint8Array }) =>
      rekeyVolume({ volume, key, newKey: newer, rounds, ...given });
    await expect(change({ key: newKey() })).rejects.toThrow(WrongDiskKeyError);
    expect(await refusals(change({ binding: binding.toReversed() }))).toEqual(['disk.binding']);
    expect(readFileSync(volume).equals(before)).toBe(true);
    rewriteHeader(volume, openToEverybody);
    expect(await refusals(change({}))).toEqual(['disk.key-slots']);
  });

  it('does not help against an image that is rolled back under the same key: nothing here notices', async () => {
    const key = newKey();
    const { volume, binding } = await makeVolume(key);
    const older = `${volume}.older`;
    copyFileSync(volume, older);
    const bytes = readFileSync(volume);
    writeFileSync(volume, bytes.fill(1, 16 * 1024 * 1024));
    copyFileSync(older, volume);
    await expect(unlockVolume({ volume, key, binding })).resolves.toMatchObject({ kind: 'luks2' });
  });
});
