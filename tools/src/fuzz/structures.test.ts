import { describe, expect, it } from 'vitest';
import { mutatedInputs, timeoutMs } from './amount.js';
import { structureReaders } from './readers.js';
import { fuzz } from './run.js';

const readers = structureReaders();

describe(`${mutatedInputs} mutated inputs for each structure: no crash, no hang, typed errors only`, () => {
  it.each(readers.map((reader) => [reader.name, reader] as const))(
    '%s',
    { timeout: timeoutMs },
    async (_name, reader) => {
      const { accepted, refused } = await fuzz(reader, mutatedInputs);
      expect(accepted + refused).toBe(mutatedInputs);
      expect(refused, 'nothing was refused').toBeGreaterThan(0);
      expect(accepted, 'nothing was accepted').toBeGreaterThan(0);
    },
  );

  it('finds the structures at all', () => {
    expect(readers.length).toBeGreaterThan(30);
  });
});
