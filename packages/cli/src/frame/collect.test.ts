import { InvalidArgumentError } from '@vouchsafe/sev';
import { expect, it } from 'vitest';
import { collect } from './collect.js';

async function* endless(given: Uint8Array[]) {
  for (;;) {
    const part = new Uint8Array(10).fill(7);
    given.push(part);
    yield part;
  }
}

it('joins what a stream gives, and zeroes the pieces', async () => {
  const parts = [Uint8Array.of(1, 2), new Uint8Array(), Uint8Array.of(3)];
  async function* stream() {
    yield* parts;
  }
  expect(await collect(stream(), 'key', 3)).toEqual(Uint8Array.of(1, 2, 3));
  expect(parts.flatMap((part) => [...part])).toEqual([0, 0, 0]);
});

it('refuses what is endless, and keeps nothing of it', async () => {
  const given: Uint8Array[] = [];
  await expect(collect(endless(given), 'kernel', 25)).rejects.toThrow(InvalidArgumentError);
  expect(given).toHaveLength(3);
  expect(given.every((part) => part.every((byte) => byte === 0))).toBe(true);
});
