import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InvalidArgumentError, openSecret, toBase64, toHex, UnavailableError } from '@vouchsafe/sev';
import { afterAll, describe, expect, it } from 'vitest';
import { recordingIo } from '../testing/run.js';
import { decodeFile, readEncoded, readInput, readPathOrBase64, readSecret, writeOutputs } from './files.js';

const folder = mkdtempSync(join(tmpdir(), 'vouchsafe-files-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const { io } = recordingIo({ stdin: Uint8Array.of(1, 2, 3) });
const text = (content: string) => new TextEncoder().encode(content);
const key = Uint8Array.from({ length: 16 }, (_, i) => 0xf0 + i);

describe('reading', () => {
  it('takes raw bytes, hexadecimal and base64 for the same', () => {
    for (const content of [
      key,
      text(toHex(key)),
      text(`0x${toHex(key).toUpperCase()}\n`),
      text(`${toBase64(key)}\n`),
    ]) {
      expect(toHex(decodeFile(content, 'TIK', [16]).bytes)).toBe(toHex(key));
    }
  });

  it('takes a file of the right length for raw, whatever it spells', () => {
    const spells = text('0123456789abcdef');
    expect(decodeFile(spells, 'TIK', [16])).toEqual({ bytes: spells, encoding: 'raw' });
    expect(decodeFile(spells, 'TIK', [8]).encoding).toBe('hex');
  });

  it('names the lengths of what does not fit, never the content', () => {
    const secret = 'hunter2hunter2hunter2';
    expect(() => decodeFile(text(secret), 'TIK', [16])).toThrow(InvalidArgumentError);
    expect(() => decodeFile(text(secret), 'TIK', [16])).toThrow('expected 16 bytes');
    expect(() => decodeFile(text(secret), 'TIK', [16])).not.toThrow('hunter2');
  });

  it('says which file cannot be read, and why', async () => {
    await expect(readInput(join(folder, 'none'), 'kernel', io)).rejects.toThrow(
      /kernel: cannot read .*none: there is no such file/,
    );
    await expect(readInput(folder, 'kernel', io)).rejects.toThrow(/it is a folder/);
    await expect(readInput(join(folder, 'none'), 'kernel', io)).rejects.toBeInstanceOf(UnavailableError);
  });

  it('refuses a device without end, before memory does', async () => {
    await expect(readInput('/dev/zero', 'kernel', io)).rejects.toThrow(
      /kernel: it has more than 536870912 bytes/,
    );
  });

  it('reads standard input for -, and text where sevctl takes a path or base64', async () => {
    expect(await readInput('-', 'x', io)).toEqual(Uint8Array.of(1, 2, 3));
    const path = join(folder, 'blob');
    writeFileSync(path, toBase64(key));
    expect(await readPathOrBase64(path, 'blob', io, [16])).toEqual(key);
    expect(await readPathOrBase64(toBase64(key), 'blob', io, [16])).toEqual(key);
    await expect(readPathOrBase64(join(folder, 'none'), 'blob', io, [16])).rejects.toBeInstanceOf(
      InvalidArgumentError,
    );
    expect(await readEncoded(path, 'blob', io, [16])).toEqual(key);
    expect(toHex(openSecret(await readSecret(path, 'blob', io, [16])))).toBe(toHex(key));
  });
});

describe('writing', () => {
  const mode = (path: string) => statSync(path).mode & 0o777;

  it('keeps secrets to their owner and never replaces one unasked', async () => {
    const secret = { path: join(folder, 'out', 'tik.bin'), bytes: key, secret: true };
    const open = { path: join(folder, 'out', 'session.b64'), bytes: text('one') };
    await writeOutputs([open, secret], { overwrite: false });
    expect(mode(secret.path)).toBe(0o600);

    const second = [
      { ...open, bytes: text('two') },
      { ...secret, bytes: text('other') },
    ];
    await expect(writeOutputs(second, { overwrite: false })).rejects.toThrow(/it exists already/);
    expect(readFileSync(open.path, 'utf8')).toBe('one');
    expect(new Uint8Array(readFileSync(secret.path))).toEqual(key);

    await writeOutputs(second, { overwrite: true });
    expect(readFileSync(secret.path, 'utf8')).toBe('other');
    expect(mode(secret.path)).toBe(0o600);
    expect(readdirSync(join(folder, 'out')).toSorted()).toEqual(['session.b64', 'tik.bin']);
  });

  it('says why it cannot write', async () => {
    writeFileSync(join(folder, 'file'), '');
    const file = { path: join(folder, 'file', 'below'), bytes: key };
    await expect(writeOutputs([file], { overwrite: true })).rejects.toBeInstanceOf(UnavailableError);
  });
});
