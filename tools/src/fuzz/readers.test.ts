import * as protocol from '@vouchsafe/protocol';
import * as sev from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import { messagesOf, parserNamesOf } from '../exports.js';
import { mutatedInputs, timeoutMs } from './amount.js';
import { parserReaders } from './readers.js';
import { fuzz } from './run.js';

const readers = parserReaders();

describe('the list of readers', () => {
  it('holds every exported parser, and valid inputs for each', () => {
    const listed = readers.map((reader) => reader.name);
    const exported = [
      ...parserNamesOf(sev),
      ...parserNamesOf(protocol),
      ...messagesOf(protocol).map(([name]) => name),
    ];
    expect(exported.filter((name) => !listed.includes(name))).toEqual([]);
    expect(readers.filter((reader) => reader.seeds.length === 0).map((reader) => reader.name)).toEqual([]);
    expect(new Set(listed).size).toBe(listed.length);
  });
});

describe(`${mutatedInputs} mutated inputs: no crash, no hang, typed errors only`, () => {
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
});
