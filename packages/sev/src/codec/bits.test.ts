import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { InvalidArgumentError, MalformedError } from '../errors.js';
import { bitRange, bits, flag } from './bits.js';
import type { Note } from './field.js';

const options = { name: 'word', width: 32, source: 'test', reserved: 'refuse' } as const;
const ranges = {
  low: flag(0, 'LOW', 'the lowest bit'),
  level: bitRange(4, 8, 'LEVEL', 'eight bits'),
  high: flag(31, 'HIGH', 'the highest bit'),
};
const strict = bits(options, ranges);
const lenient = bits({ ...options, reserved: 'report' }, ranges);

describe('bits', () => {
  test('are read from their places', () => {
    expect(strict.parse(0x8000_0ab1)).toMatchObject({ low: true, level: 0xab, high: true });
    expect(strict.parse(0n)).toEqual({ low: false, level: 0, high: false });
    expect(strict.reservedMask).toBe(0x7fff_f00en);
  });

  test('read what was built', () => {
    const values = fc.record({ low: fc.boolean(), level: fc.nat(255), high: fc.boolean() });
    fc.assert(
      fc.property(values, (each) => {
        expect(strict.parse(strict.build(each))).toEqual(each);
      }),
    );
  });

  test('of a word of 64 bits keep the whole word', () => {
    const wide = bits(
      { ...options, width: 64 },
      { all: bitRange(0, 53, 'ALL', ''), rest: bitRange(53, 11, 'REST', '') },
    );
    const property = fc.property(
      fc.bigInt(0n, (1n << 64n) - 1n),
      (word) => wide.build(wide.parse(word)) === word,
    );
    fc.assert(property);
  });

  test('left out are zero', () => {
    expect(strict.build({})).toBe(0n);
    expect(strict.build({ level: 1 })).toBe(0x10n);
  });

  test('that are reserved are refused with the place', () => {
    const parse = () => strict.parse(0x0000_1002, { offset: 7, path: 'outer, field' });
    expect(parse).toThrow(MalformedError);
    expect(parse).toThrow('outer, field: reserved bits at offset 0x7: expected zero, found 0x1002');
  });

  test('that are reserved are noted where newer chips set them', () => {
    const notes: Note[] = [];
    expect(lenient.parse(0x0000_1003, { offset: 7 }, notes)).toMatchObject({ low: true });
    expect(notes).toMatchObject([{ structure: 'word', field: 'reserved bits', offset: 7, found: '0x1002' }]);
  });

  test.each([-1, 2 ** 32, 1.5, Number.NaN, Number.POSITIVE_INFINITY, -1n, 1n << 32n])(
    '%s is not a word',
    (word) => {
      expect(() => strict.parse(word)).toThrow(InvalidArgumentError);
    },
  );

  test.each([-1, 256, 0.5, Number.NaN])('level %s does not fit', (level) => {
    expect(() => strict.build({ level })).toThrow(InvalidArgumentError);
  });

  test('have a text for people', () => {
    expect(strict.toText({ low: true, level: 3, high: false })).toBe('LOW, LEVEL=3');
    expect(strict.toText(strict.parse(0))).toBe('none');
  });

  test('that overlap, or lie outside the word, are a mistake in the declaration', () => {
    expect(() => bits(options, { a: flag(3, 'A', ''), b: bitRange(2, 2, 'B', '') })).toThrow(TypeError);
    expect(() => bits(options, { a: flag(32, 'A', '') })).toThrow(TypeError);
    expect(() => bitRange(0, 54, 'A', '')).toThrow(TypeError);
  });
});
