import { expect, test } from 'vitest';
import { reversed } from './bytes.js';
import { guidFromBytes, structure, u32 } from './codec/index.js';
import { openSecret, Secret } from './secret.js';

/** Node's Buffer is a Uint8Array whose `slice` shares memory: files and sockets hand them to us all the time. */
const buffer = () => Buffer.from('000102030405060708090a0b0c0d0e0f', 'hex');

test('a secret taken from a Buffer keeps its bytes', () => {
  const given = buffer();
  const secret = Secret.take(given);
  expect(openSecret(secret)).toEqual(new Uint8Array(buffer()));
  expect([...given]).toEqual(new Array(16).fill(0));
});

test('a secret copied from a Buffer does not share its memory', () => {
  const given = buffer();
  const secret = Secret.copyOf(given);
  secret.zero();
  expect([...given]).toEqual([...buffer()]);
});

test('what was parsed does not change when the Buffer is used again', () => {
  const given = buffer().subarray(0, 4);
  const parsed = structure({ name: 'number', size: 4, source: 'test' }, { value: u32(0, 'value') }).parse(
    given,
  );
  given.fill(0xff);
  expect(parsed.raw).toEqual(Uint8Array.of(0, 1, 2, 3));
});

test('reading a Buffer does not reorder it', () => {
  const given = buffer();
  expect(reversed(given)[0]).toBe(0x0f);
  guidFromBytes(given);
  expect([...given]).toEqual([...buffer()]);
});
