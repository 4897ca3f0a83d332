import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fromHex, toHex } from '../bytes.js';
import { InvalidArgumentError, MalformedError } from '../errors.js';
import {
  buildTcbVersion,
  formatTcb,
  kdsParameters,
  parseTcbVersion,
  tcbAtLeast,
  tcbDifferences,
  tcbLayout,
} from './tcb-version.js';

const milan = { bootloader: 4, tee: 1, snp: 24, microcode: 217 };
const turin = { fmc: 1, bootloader: 2, tee: 3, snp: 4, microcode: 81 };

describe('TCB version', () => {
  test('has its components where the product line puts them', () => {
    expect(parseTcbVersion(fromHex('04010000000018d9'), 'milan')).toEqual(milan);
    expect(parseTcbVersion(fromHex('0102030400000051'), 'turin')).toEqual(turin);
    expect(toHex(buildTcbVersion(milan, 'milan'))).toBe('04010000000018d9');
    expect(toHex(buildTcbVersion(turin, 'turin'))).toBe('0102030400000051');
  });

  test.each([
    ['Milan', 'milan'],
    ['Genoa', 'milan'],
    ['Turin', 'turin'],
    ['Venice', 'turin'],
  ] as const)('of %s has the layout %s', (line, layout) => {
    expect(tcbLayout(line)).toBe(layout);
  });

  test.each([
    ['milan', [2, 3, 4, 5]],
    ['turin', [4, 5, 6]],
  ] as const)('of layout %s refuses any reserved byte that is set', (layout, places) => {
    for (const at of places) {
      const bytes = new Uint8Array(8);
      bytes[at] = 1;
      const location = { offset: 0x38, path: 'report, CURRENT_TCB' };
      expect(() => parseTcbVersion(bytes, layout, location)).toThrow(MalformedError);
      expect(() => parseTcbVersion(bytes, layout, location)).toThrow(`0x${(0x38 + at).toString(16)}`);
    }
  });

  test('is 8 bytes', () => {
    expect(() => parseTcbVersion(new Uint8Array(7), 'milan')).toThrow(MalformedError);
    expect(() => parseTcbVersion(new Uint8Array(9), 'turin')).toThrow(MalformedError);
  });

  test('is not built with components that do not belong or do not fit', () => {
    expect(() => buildTcbVersion(turin, 'milan')).toThrow(InvalidArgumentError);
    expect(() => buildTcbVersion(milan, 'turin')).toThrow('Turin and later need this component');
    expect(() => buildTcbVersion({ ...milan, snp: 256 }, 'milan')).toThrow(InvalidArgumentError);
  });

  test('reads what it writes', () => {
    const component = fc.nat(255);
    const shared = { bootloader: component, tee: component, snp: component, microcode: component };
    fc.assert(
      fc.property(fc.record(shared), fc.record({ fmc: component, ...shared }), (old, recent) => {
        expect(parseTcbVersion(buildTcbVersion(old, 'milan'), 'milan')).toEqual(old);
        expect(parseTcbVersion(buildTcbVersion(recent, 'turin'), 'turin')).toEqual(recent);
      }),
    );
  });
});

describe('a TCB floor', () => {
  test('is held when every component reaches it', () => {
    expect(tcbAtLeast(turin, turin)).toEqual({ ok: true, below: [] });
    expect(tcbAtLeast(turin, {})).toEqual({ ok: true, below: [] });
    expect(tcbAtLeast(milan, { snp: 24 })).toEqual({ ok: true, below: [] });
  });

  test.each(['fmc', 'bootloader', 'tee', 'snp', 'microcode'] as const)(
    'is missed by %s alone, whatever the others are',
    (name) => {
      const floor = { fmc: 0, bootloader: 0, tee: 0, snp: 0, microcode: 0, [name]: turin[name] + 1 };
      expect(tcbAtLeast(turin, floor)).toEqual({ ok: false, below: [name] });
    },
  );

  test('for a component that the chip does not have is missed', () => {
    expect(tcbAtLeast(milan, { fmc: 0 })).toEqual({ ok: false, below: ['fmc'] });
  });

  test('equality is not order', () => {
    expect(tcbDifferences(turin, turin)).toEqual([]);
    expect(tcbDifferences(turin, { ...turin, snp: 3, microcode: 82 })).toEqual(['snp', 'microcode']);
    expect(tcbDifferences({ ...milan, fmc: 0 }, milan)).toEqual(['fmc']);
  });
});

describe('a TCB version in words', () => {
  test('for people', () => {
    expect(formatTcb(milan)).toBe('bootloader 4, tee 1, snp 24, microcode 217');
    expect(formatTcb(turin)).toBe('fmc 1, bootloader 2, tee 3, snp 4, microcode 81');
    expect(formatTcb({ snp: 3 })).toBe('snp 3');
  });

  test('for the key distribution service', () => {
    expect(kdsParameters(milan)).toEqual([
      ['blSPL', 4],
      ['teeSPL', 1],
      ['snpSPL', 24],
      ['ucodeSPL', 217],
    ]);
    expect(kdsParameters(turin)[0]).toEqual(['fmcSPL', 1]);
  });
});
