import { format, inspect } from 'node:util';
import { describe, expect, test } from 'vitest';
import { InvalidArgumentError } from './errors.js';
import { openSecret, Secret } from './secret.js';

const bytes = () => Uint8Array.from({ length: 16 }, (_, i) => 0xa0 + i);
const traces = [/a0a1/i, /160, ?161/, /oKGi/, /\xa0\xa1/];

describe('a secret shows its length and nothing else', () => {
  const secret = Secret.take(bytes());
  const views: [string, () => string][] = [
    ['String', () => String(secret)],
    ['a template', () => `${secret}`],
    ['concatenation', () => `x${secret}`],
    ['JSON', () => JSON.stringify({ secret, list: [secret] })],
    ['inspect', () => inspect(secret)],
    ['inspect, all of it', () => inspect({ secret }, { showHidden: true, depth: null, getters: true })],
    ['inspect without our hook', () => inspect(secret, { customInspect: false, showHidden: true })],
    ['format', () => format('%s %o %O %j', secret, secret, secret, secret)],
    ['its properties', () => JSON.stringify(Object.getOwnPropertyDescriptors(secret))],
    ['a spread copy', () => inspect({ ...secret })],
    ['a structured clone', () => inspect(structuredClone({ ...secret }))],
    ['an error', () => inspect(new Error(`could not use ${secret}`, { cause: secret }))],
  ];

  test.each(views)('%s', (_what, view) => {
    const text = view();
    for (const trace of traces) expect(text).not.toMatch(trace);
  });

  test('the words', () => {
    expect(`${secret}`).toBe('[secret of 16 bytes]');
    expect(JSON.stringify(secret)).toBe('"[secret of 16 bytes]"');
    expect(inspect(secret)).toBe('[secret of 16 bytes]');
    expect(secret.length).toBe(16);
  });
});

describe('the life of a secret', () => {
  test('taking moves the bytes, also out of a Buffer', () => {
    for (const given of [bytes(), Buffer.from(bytes())]) {
      const secret = Secret.take(given);
      expect([...given]).toEqual(Array<number>(16).fill(0));
      expect([...openSecret(secret)]).toEqual([...bytes()]);
    }
  });

  test('copying leaves the given bytes alone', () => {
    for (const given of [bytes(), Buffer.from(bytes())]) {
      const secret = Secret.copyOf(given);
      secret.zero();
      expect([...given]).toEqual([...bytes()]);
    }
  });

  test('zeroing overwrites the bytes and closes it for good', () => {
    const secret = Secret.take(bytes());
    const opened = openSecret(secret);
    expect(secret.isZeroed).toBe(false);
    secret.zero();
    secret.zero();
    expect([...opened]).toEqual(Array<number>(16).fill(0));
    expect(secret.isZeroed).toBe(true);
    expect(() => openSecret(secret)).toThrow(InvalidArgumentError);
    expect(`${secret}`).toBe('[secret, zeroed]');
  });

  test('nobody can put another hook in its place', () => {
    const secret = Secret.take(bytes());
    expect(Object.isFrozen(secret)).toBe(true);
    expect(Reflect.set(secret, 'toString', () => 'x')).toBe(false);
  });
});
