import { describe, expect, it } from 'vitest';
import { InvalidArgumentError, MalformedError } from '../errors.js';
import {
  buildPageStateChange,
  type PageStateChangeEntry,
  pageStateChangeLimit,
  parsePageStateChange,
} from './page-state-change.js';

const entry = (address: number, rest: Partial<PageStateChangeEntry> = {}): PageStateChangeEntry => ({
  currentPage: 0,
  address,
  operation: 'PRIVATE',
  large: false,
  ...rest,
});
const change = {
  current: 1,
  entries: [entry(0x1000), entry(0x40_0000, { operation: 'SHARED', large: true, currentPage: 5 })],
};

describe('a page state change', () => {
  it('is laid out as the specification says', () => {
    const bytes = buildPageStateChange(change);
    expect([...bytes.subarray(0, 8)]).toEqual([1, 0, 1, 0, 0, 0, 0, 0]);
    const view = new DataView(bytes.buffer);
    expect(view.getBigUint64(8, true)).toBe((1n << 52n) | 0x1000n);
    expect(view.getBigUint64(16, true)).toBe((1n << 56n) | (2n << 52n) | 0x40_0005n);
  });

  it('comes back, whatever stands behind it', () => {
    const buffer = new Uint8Array(2032).fill(0xff);
    buffer.set(buildPageStateChange(change));
    expect(parsePageStateChange(buffer)).toEqual(change);
    const full = { current: 253, entries: Array.from({ length: 253 }, (_, i) => entry(i * 0x1000)) };
    expect(pageStateChangeLimit).toBe(253);
    expect(parsePageStateChange(buildPageStateChange(full))).toEqual(full);
  });

  it.each<[string, number, number[], string]>([
    ['an end beyond the buffer', 2, [2, 0], 'end'],
    ['a current entry behind the end', 0, [3, 0], 'current'],
    ['an unknown operation', 8 + 6, [0x50], 'entry 0, OPERATION'],
    ['reserved bits', 8 + 7, [0x80], 'reserved bits'],
    ['a large page that is not aligned', 16 + 1, [0x10], 'entry 1, GFN'],
  ])('with %s is refused', (_what, at, bytes, field) => {
    const wrong = buildPageStateChange(change);
    wrong.set(bytes, at);
    expect(() => parsePageStateChange(wrong)).toThrow(MalformedError);
    expect(() => parsePageStateChange(wrong)).toThrow(expect.objectContaining({ field }));
  });

  it('of no entries, too many, or half pages cannot be made', () => {
    const many = Array.from({ length: 254 }, () => entry(0));
    for (const entries of [[], many, [entry(0x800)], [entry(0x1000, { large: true })]])
      expect(() => buildPageStateChange({ current: 0, entries })).toThrow(InvalidArgumentError);
  });
});
