import { InvalidArgumentError, Secret } from '@vouchsafe/sev';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { seededRandom } from '../testing/hypervisor.js';
import { createDram } from './dram.js';
import { decryptMemory, drawMemoryKey, encryptMemory, readEncrypted, writeEncrypted } from './encryption.js';

const random = seededRandom('encryption');
const key = drawMemoryKey(random);
const page = random(4096);
const blocks = (bytes: Uint8Array) =>
  Array.from({ length: bytes.length / 16 }, (_, i) => bytes.slice(16 * i, 16 * i + 16).join());

describe('memory encryption', () => {
  it('gives the plaintext back at the address it was encrypted for', () => {
    for (const address of [0, 16, 4096, 0xffff_f000, 2 ** 40 + 4080]) {
      expect(decryptMemory(key, address, encryptMemory(key, address, page))).toEqual(page);
    }
  });

  it('encrypts any aligned run as a pass over the whole range does', () => {
    const whole = random(3 * 4096);
    const start = 0x7000;
    const expected = encryptMemory(key, start, whole);
    fc.assert(
      fc.property(fc.nat(767), fc.nat(767), (from, size) => {
        const [a, b] = [16 * from, Math.min(16 * (from + size + 1), whole.length)];
        expect(encryptMemory(key, start + a, whole.subarray(a, b))).toEqual(expected.subarray(a, b));
        expect(decryptMemory(key, start + a, expected.subarray(a, b))).toEqual(whole.subarray(a, b));
      }),
      { numRuns: 200 },
    );
  });

  it('makes equal plaintext differ at every address', () => {
    const same = new Uint8Array(8 * 4096).fill(0xaa);
    const seen = blocks(encryptMemory(key, 0x10_0000, same));
    expect(new Set(seen).size).toBe(seen.length);
    expect(blocks(encryptMemory(key, 0x20_0000, same)).some((block) => seen.includes(block))).toBe(false);
  });

  it('makes noise of ciphertext that was moved or changed, block by block', () => {
    const ciphertext = encryptMemory(key, 0x4000, page);
    const moved = blocks(decryptMemory(key, 0x5000, ciphertext));
    expect(moved.filter((block) => blocks(page).includes(block))).toEqual([]);
    const changed = ciphertext.slice();
    changed[40]! ^= 1;
    const noise = decryptMemory(key, 0x4000, changed);
    expect(noise.subarray(0, 32)).toEqual(page.subarray(0, 32));
    expect(noise.subarray(48)).toEqual(page.subarray(48));
    expect(noise.subarray(32, 48)).not.toEqual(page.subarray(32, 48));
  });

  it('differs from key to key', () => {
    expect(encryptMemory(drawMemoryKey(random), 0, page)).not.toEqual(encryptMemory(key, 0, page));
  });

  it('refuses what is not made of granules, and a key that is gone', () => {
    expect(() => encryptMemory(key, 8, page)).toThrow(InvalidArgumentError);
    expect(() => decryptMemory(key, 0, page.subarray(1))).toThrow(InvalidArgumentError);
    const gone = Secret.take(random(32));
    gone.zero();
    expect(() => encryptMemory(gone, 0, page)).toThrow(InvalidArgumentError);
  });

  it('reads and writes at any address, and leaves the bytes around alone', () => {
    const size = 4 * 4096;
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(size - 200), fc.uint8Array({ minLength: 1, maxLength: 200 })), {
          maxLength: 8,
        }),
        (writes) => {
          const memory = createDram(size);
          memory.write(0, encryptMemory(key, 0, new Uint8Array(size)));
          const expected = new Uint8Array(size);
          for (const [at, bytes] of writes) {
            writeEncrypted(memory, key, at, bytes);
            expected.set(bytes, at);
            expect(readEncrypted(memory, key, at, bytes.length)).toEqual(bytes);
          }
          expect(readEncrypted(memory, key, 0, size)).toEqual(expected);
        },
      ),
      { numRuns: 100 },
    );
  });
});
