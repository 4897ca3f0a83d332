import { MalformedError } from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import { mutate, SeededRandom } from './mutate.js';
import { FuzzFailure, fuzz } from './run.js';

const seeds = [Uint8Array.from({ length: 64 }, (_, i) => i)];
const malformed = () =>
  new MalformedError({ structure: 'x', field: 'y', offset: 0, expected: 'a', found: 'b' });

describe('mutated inputs', () => {
  it('are the same in every run, differ from the seeds, and vary in length', () => {
    const draw = (seed: number) => {
      const random = new SeededRandom(seed);
      return Array.from({ length: 200 }, () => Buffer.from(mutate(seeds, random)).toString('hex'));
    };
    expect(draw(7)).toEqual(draw(7));
    expect(draw(7)).not.toEqual(draw(8));
    expect(new Set(draw(7)).size).toBeGreaterThan(150);
    expect(new Set(draw(7).map((text) => text.length)).size).toBeGreaterThan(20);
  });

  it('survive a seed that is empty', () => {
    const random = new SeededRandom(1);
    for (let i = 0; i < 2000; i++) expect(mutate([new Uint8Array(0)], random)).toBeInstanceOf(Uint8Array);
  });
});

describe('the fuzz run', () => {
  it('counts what was accepted and what was refused with a typed error', async () => {
    const parse = (bytes: Uint8Array) => {
      if (bytes.length !== 64) throw malformed();
    };
    const { inputs, accepted, refused } = await fuzz({ name: 'p', seeds, parse }, 1000);
    expect(inputs).toBe(1000);
    expect(accepted + refused).toBe(1000);
    expect(accepted).toBeGreaterThan(100);
    expect(refused).toBeGreaterThan(100);
  });

  it('fails on an untyped error, synchronous or not', async () => {
    const parse = (bytes: Uint8Array) => {
      if (bytes[3] !== 3) throw new RangeError('offset is outside the bounds');
    };
    await expect(fuzz({ name: 'p', seeds, parse }, 1000)).rejects.toThrow(
      /^p: mutated input \d+ raised RangeError/,
    );
    const later = async (bytes: Uint8Array) => parse(bytes);
    await expect(fuzz({ name: 'p', seeds, parse: later }, 1000)).rejects.toThrow(FuzzFailure);
  });

  it('fails on a seed that is refused', async () => {
    const parse = () => {
      throw malformed();
    };
    await expect(fuzz({ name: 'p', seeds, parse }, 10)).rejects.toThrow(MalformedError);
  });

  it('fails on an input that never ends', async () => {
    const parse = (bytes: Uint8Array) => {
      while (bytes[3] !== 3) bytes[4]! += 1;
    };
    await expect(fuzz({ name: 'p', seeds, parse }, 100, 1, 100)).rejects.toThrow(
      /had no answer within 100 ms/,
    );
  });
});
