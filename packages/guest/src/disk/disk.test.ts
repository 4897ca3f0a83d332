import { mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { InvalidArgumentError, MalformedError, Secret, systemRandom, UnavailableError } from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import { temporaryFolder } from '../testing/temporary.js';
import { hasCryptsetup } from './cryptsetup.js';
import { formatDemoLuks, openLuks, testLuksKey, WrongDiskKeyError } from './luks.js';
import { isStandInVolume, openStandInVolume, sealStandInVolume } from './stand-in.js';
import { unlockVolume } from './unlock.js';

const text = (value: string) => new TextEncoder().encode(value);
const newKey = () => Secret.take(systemRandom(32));
const newline = () => Secret.take(text('0123456789abcdef\n'));

const installed = await hasCryptsetup();

describe('a LUKS2 volume', () => {
  if (!installed) it.skipIf(true)('cryptsetup is not installed (package cryptsetup-bin)', () => undefined);

  /** 16 MiB of header and a little data, sparse. */
  async function volumeWith(key: Secret): Promise<string> {
    const volume = join(temporaryFolder(), 'disk.img');
    writeFileSync(volume, '');
    truncateSync(volume, 20 * 1024 * 1024);
    await formatDemoLuks({ volume, key });
    return volume;
  }

  if (installed) {
    it('opens with its key and with no other', async () => {
      const key = newKey();
      const volume = await volumeWith(key);
      await expect(testLuksKey({ volume, key })).resolves.toBeUndefined();
      expect(await unlockVolume({ volume, key })).toMatchObject({ kind: 'luks2' });
      await expect(testLuksKey({ volume, key: newKey() })).rejects.toThrow(WrongDiskKeyError);
      await expect(unlockVolume({ volume, key: newKey() })).rejects.toMatchObject({ code: 'wrong-disk-key' });
    });

    it('takes the key byte for byte, zeros and newlines included', async () => {
      const key = newline();
      const volume = await volumeWith(key);
      await expect(testLuksKey({ volume, key })).resolves.toBeUndefined();
      await expect(testLuksKey({ volume, key: Secret.take(text('0123456789abcdef')) })).rejects.toThrow(
        WrongDiskKeyError,
      );
      const zeros = Secret.take(Uint8Array.of(1, 0, 10, 0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13));
      await expect(testLuksKey({ volume: await volumeWith(zeros), key: zeros })).resolves.toBeUndefined();
    });

    it('that is none says so', async () => {
      const folder = temporaryFolder();
      writeFileSync(join(folder, 'not-luks'), new Uint8Array(1 << 20));
      await expect(testLuksKey({ volume: join(folder, 'not-luks'), key: newKey() })).rejects.toThrow(
        UnavailableError,
      );
      await expect(testLuksKey({ volume: join(folder, 'missing'), key: newKey() })).rejects.toThrow(
        UnavailableError,
      );
    });
  }

  it('without cryptsetup names the package', async () => {
    const options = { volume: '/dev/null', key: newKey(), cryptsetup: '/nowhere/cryptsetup' };
    await expect(testLuksKey(options)).rejects.toMatchObject({
      code: 'unavailable',
      hint: expect.stringContaining('cryptsetup-bin'),
    });
    expect(await hasCryptsetup('/nowhere/cryptsetup')).toBe(false);
  });

  it('hands the key over standard input: neither arguments, environment nor files have it', async () => {
    const folder = temporaryFolder();
    const program = join(folder, 'cryptsetup');
    writeFileSync(
      program,
      `#!/bin/sh\ncat > "${folder}/stdin"\nprintf '%s ' "$@" > "${folder}/argv"\nenv > "${folder}/env"\n`,
      { mode: 0o755 },
    );
    await testLuksKey({
      volume: '/volume',
      key: Secret.take(text('a very secret key')),
      cryptsetup: program,
    });
    const file = (name: string) => readFileSync(join(folder, name), 'utf8');
    expect(file('stdin')).toBe('a very secret key');
    expect(file('argv')).toBe('open --type luks2 --test-passphrase --key-file - /volume ');
    expect(file('env')).not.toContain('very secret');
  });

  it.each([
    [1, UnavailableError],
    [2, WrongDiskKeyError],
    [3, UnavailableError],
    [4, UnavailableError],
    [5, UnavailableError],
    [77, UnavailableError],
  ])('status %i of cryptsetup is an error of its own', async (status, kind) => {
    const program = join(temporaryFolder(), 'cryptsetup');
    writeFileSync(program, `#!/bin/sh\nprintf 'it \\033[31mfailed' >&2\nexit ${status}\n`, { mode: 0o755 });
    const failed = testLuksKey({ volume: '/volume', key: newKey(), cryptsetup: program });
    await expect(failed).rejects.toThrow(kind);
    await expect(failed).rejects.not.toThrow('\u001b');
  });

  it('is not named like an option, nor its mapping like a path', async () => {
    await expect(testLuksKey({ volume: '--key-file=/etc/shadow', key: newKey() })).rejects.toThrow(
      InvalidArgumentError,
    );
    for (const name of ['../x', '-n', '', 'a b']) {
      await expect(openLuks({ volume: '/volume', key: newKey(), name })).rejects.toThrow(
        InvalidArgumentError,
      );
    }
  });

  it('for a demo wants a key that cannot be guessed', async () => {
    const key = Secret.take(text('fifteen letters'));
    await expect(formatDemoLuks({ volume: '/volume', key })).rejects.toThrow(InvalidArgumentError);
  });
});

describe('a stand-in volume', () => {
  const content = text('what the disk holds');
  const seal = (key: Secret) => sealStandInVolume({ content, key, random: systemRandom });

  it('opens with its key and with no other', () => {
    const key = newKey();
    const volume = seal(key);
    expect(openStandInVolume(volume, key)).toEqual(content);
    expect(() => openStandInVolume(volume, newKey())).toThrow(WrongDiskKeyError);
    expect(new TextDecoder().decode(volume)).not.toContain('disk holds');
  });

  it('is refused when any byte was altered', () => {
    const key = newKey();
    const volume = seal(key);
    for (let at = 0; at < volume.length; at++) {
      const altered = volume.with(at, volume[at]! ^ 1);
      expect(() => openStandInVolume(altered, key)).toThrow(at < 20 ? MalformedError : WrongDiskKeyError);
    }
    for (const length of [0, 19, 20, 63])
      expect(() => openStandInVolume(volume.slice(0, length), key)).toThrow(MalformedError);
    expect(() => openStandInVolume(volume.slice(0, 64), key)).toThrow(WrongDiskKeyError);
  });

  it('differs each time', () => {
    const key = newKey();
    expect(seal(key)).not.toEqual(seal(key));
  });

  it('wants a key that cannot be guessed', () => {
    expect(() => seal(Secret.take(text('fifteen letters')))).toThrow(InvalidArgumentError);
  });

  it('is told from other files', async () => {
    const folder = temporaryFolder();
    const key = newKey();
    const file = (name: string, bytes: Uint8Array) => {
      writeFileSync(join(folder, name), bytes);
      return join(folder, name);
    };
    expect(isStandInVolume(seal(key))).toBe(true);
    expect(await unlockVolume({ volume: file('sealed', seal(key)), key })).toEqual({
      kind: 'stand-in',
      content,
    });
    await expect(unlockVolume({ volume: file('other', text('neither')), key })).rejects.toThrow(
      MalformedError,
    );
    await expect(unlockVolume({ volume: file('empty', new Uint8Array()), key })).rejects.toThrow(
      MalformedError,
    );
    await expect(unlockVolume({ volume: join(folder, 'missing'), key })).rejects.toThrow(UnavailableError);
    const large = sealStandInVolume({ content: new Uint8Array(1 << 20), key, random: systemRandom });
    await expect(unlockVolume({ volume: file('large', large), key })).rejects.toThrow(/too large/);
    mkdirSync(join(folder, 'folder'));
    await expect(unlockVolume({ volume: join(folder, 'folder'), key })).rejects.toThrow(UnavailableError);
  });
});
