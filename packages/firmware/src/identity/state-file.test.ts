import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InvalidArgumentError, MalformedError, UnavailableError } from '@vouchsafe/sev';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createSoftwareMachine } from '../machine.js';
import { seededRandom, TestHypervisor } from '../testing/hypervisor.js';
import { chipEndorsementRequest, createFlash, erasedStore } from './chip.js';
import { loadChipFile, openChipFile } from './state-file.js';

describe('a chip in a file', () => {
  let folder: string;
  const path = () => join(folder, 'machine', 'chip.json');
  const random = seededRandom('state file');

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'vouchsafe-chip-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  async function certificatesOf(file: string) {
    const chip = await openChipFile(file, { random });
    const machine = createSoftwareMachine({ chip, random, memory: 4 * 1024 * 1024 });
    const hypervisor = new TestHypervisor(machine.host);
    await hypervisor.start();
    const certificates = await hypervisor.exportCertificates();
    await machine.close();
    return certificates;
  }

  it('is made once, and is the same chip with the same keys after that', async () => {
    const first = await certificatesOf(path());
    expect(await certificatesOf(path())).toEqual(first);
    const chip = (await loadChipFile(path()))!;
    expect(chipEndorsementRequest(chip).unsignedCek).toEqual(first.cek);
    expect(chip.generation).toBe('milan');
  });

  it('is a file of mode 0600 in a folder of mode 0700, with nothing left beside it', async () => {
    await certificatesOf(path());
    expect((await stat(path())).mode & 0o777).toBe(0o600);
    expect((await stat(join(folder, 'machine'))).mode & 0o777).toBe(0o700);
    expect(await readdir(join(folder, 'machine'))).toEqual(['chip.json']);
  });

  it('has the flash that is on disk, also when a new one cannot be saved', async () => {
    const flash = createFlash(erasedStore(), async () => {
      throw new UnavailableError('disk', 'it is full');
    });
    await expect(flash.write(new Uint8Array(erasedStore().length))).rejects.toThrow('it is full');
    expect(flash.read()).toEqual(erasedStore());
  });

  it('makes different chips in different files', async () => {
    const [a, b] = [
      await openChipFile(join(folder, 'a'), { random }),
      await openChipFile(join(folder, 'b'), { random }),
    ];
    expect(chipEndorsementRequest(a).chipId).not.toEqual(chipEndorsementRequest(b).chipId);
    expect(chipEndorsementRequest(a).chipId).toHaveLength(64);
  });

  it.each([0o640, 0o604, 0o620])('is refused with mode %o', async (mode) => {
    await openChipFile(path(), { random });
    await chmod(path(), mode);
    await expect(openChipFile(path(), { random })).rejects.toThrow(InvalidArgumentError);
  });

  it('is refused in a folder that others may write to', async () => {
    await openChipFile(path(), { random });
    await chmod(join(folder, 'machine'), 0o770);
    await expect(loadChipFile(path())).rejects.toThrow(InvalidArgumentError);
    await chmod(join(folder, 'machine'), 0o700);
  });

  it('is refused for another generation', async () => {
    await openChipFile(path(), { random, generation: 'rome' });
    await expect(openChipFile(path(), { random, generation: 'milan' })).rejects.toThrow(/rome chip/);
    expect((await openChipFile(path(), { random })).generation).toBe('rome');
  });

  it('is refused when it is not exactly a chip', async () => {
    await openChipFile(path(), { random });
    const state = JSON.parse(await readFile(path(), 'utf8')) as Record<string, unknown>;
    const bad = [
      'not json',
      'null',
      JSON.stringify({ ...state, more: 1 }),
      JSON.stringify({ ...state, format: 'other' }),
      JSON.stringify({ ...state, generation: 'cologne' }),
      JSON.stringify({ ...state, secret: `${String(state['secret'])}00` }),
      JSON.stringify({ ...state, secret: 7 }),
      JSON.stringify({ ...state, flash: 'AAAA' }),
      JSON.stringify({ ...state, flash: '*' }),
      JSON.stringify({ ...state, committed: `${String(state['committed'])}00` }),
      JSON.stringify({ ...state, committed: 7 }),
      JSON.stringify({ ...state, format: 'vouchsafe software chip 1' }),
    ];
    for (const text of bad) {
      await writeFile(path(), text);
      await expect(loadChipFile(path())).rejects.toThrow(MalformedError);
    }
  });

  it('keeps what was committed, beside the flash', async () => {
    const chip = await openChipFile(path(), { random });
    expect(chip.committed.read()).toEqual(new Uint8Array(16).fill(0xff));
    await chip.committed.write(new Uint8Array(16).fill(7));
    await certificatesOf(path());
    const again = (await loadChipFile(path()))!;
    expect(again.committed.read()).toEqual(new Uint8Array(16).fill(7));
    expect(again.flash.read()).not.toEqual(erasedStore());
    await again.committed.write(new Uint8Array(16).fill(8));
    const last = (await loadChipFile(path()))!;
    expect(last.flash.read()).toEqual(again.flash.read());
    expect(last.committed.read()).toEqual(new Uint8Array(16).fill(8));
  });

  it('of the format before SEV-SNP has committed nothing yet', async () => {
    const chip = await openChipFile(path(), { random });
    const { committed, ...state } = JSON.parse(await readFile(path(), 'utf8')) as Record<string, unknown>;
    expect(committed).toBe('ff'.repeat(16));
    await writeFile(path(), JSON.stringify({ ...state, format: 'vouchsafe software chip 1' }));
    const older = (await loadChipFile(path()))!;
    expect(older.committed.read()).toEqual(new Uint8Array(16).fill(0xff));
    expect(chipEndorsementRequest(older)).toEqual(chipEndorsementRequest(chip));
    await older.committed.write(new Uint8Array(16).fill(1));
    expect(JSON.parse(await readFile(path(), 'utf8'))).toMatchObject({ format: 'vouchsafe software chip 2' });
  });

  it('says nothing of its secret in an error', async () => {
    await openChipFile(path(), { random });
    const state = JSON.parse(await readFile(path(), 'utf8')) as { secret: string };
    await writeFile(path(), JSON.stringify({ ...state, secret: state.secret.toUpperCase() }));
    const error = await loadChipFile(path()).catch((cause: unknown) => cause);
    expect(String(error).toLowerCase()).not.toContain(state.secret);
  });

  it('is absent, or cannot be read or written', async () => {
    expect(await loadChipFile(path())).toBeUndefined();
    await mkdir(path(), { recursive: true, mode: 0o700 });
    await chmod(join(folder, 'machine'), 0o700);
    await chmod(path(), 0o600);
    await expect(loadChipFile(path())).rejects.toThrow(UnavailableError);
  });

  it('has an erased flash until it is first initialised', async () => {
    const chip = await openChipFile(path(), { random });
    expect(chip.flash.read()).toEqual(erasedStore());
    await certificatesOf(path());
    expect((await loadChipFile(path()))!.flash.read()).not.toEqual(erasedStore());
  });
});
