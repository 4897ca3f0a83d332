import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { InvalidArgumentError } from '../errors.js';
import { cpuidSignature, isProductLine, processorOfSignature, productLineOfCpuid } from './product-line.js';

describe('product line', () => {
  test.each([
    [0x19, 0x00, 'Milan'],
    [0x19, 0x01, 'Milan'],
    [0x19, 0x0f, 'Milan'],
    [0x19, 0x10, 'Genoa'],
    [0x19, 0x1f, 'Genoa'],
    [0x19, 0x20, undefined],
    [0x19, 0x9f, undefined],
    [0x19, 0xa0, 'Genoa'],
    [0x19, 0xaf, 'Genoa'],
    [0x19, 0xb0, undefined],
    [0x1a, 0x00, 'Turin'],
    [0x1a, 0x02, 'Turin'],
    [0x1a, 0x11, 'Turin'],
    [0x1a, 0x12, undefined],
    [0x1a, 0x4f, undefined],
    [0x1a, 0x50, 'Venice'],
    [0x1a, 0x57, 'Venice'],
    [0x1a, 0x58, undefined],
    [0x1a, 0x8f, undefined],
    [0x1a, 0x90, 'Venice'],
    [0x1a, 0xaf, 'Venice'],
    [0x1a, 0xb0, undefined],
    [0x1a, 0xc0, 'Venice'],
    [0x1a, 0xc7, 'Venice'],
    [0x1a, 0xc8, undefined],
    [0x17, 0x31, undefined],
  ])('of family %i, model %i is %s', (family, model, line) => {
    expect(productLineOfCpuid({ family, model })?.line).toBe(line);
  });

  test('tells what is sold under Genoa apart', () => {
    expect(productLineOfCpuid({ family: 0x19, model: 0x11 })?.marketing).toBe('Genoa or Genoa-X');
    expect(productLineOfCpuid({ family: 0x19, model: 0xa0 })?.marketing).toBe('Bergamo or Siena');
  });

  test('names are exact', () => {
    expect(isProductLine('Milan')).toBe(true);
    expect(isProductLine('milan')).toBe(false);
    expect(isProductLine('Naples')).toBe(false);
  });
});

describe('CPUID signature', () => {
  test('of known processors', () => {
    expect(cpuidSignature({ family: 0x19, model: 0x01, stepping: 1 })).toBe(0x00a00f11);
    expect(processorOfSignature(0x00aa0f02)).toEqual({ family: 0x19, model: 0xa0, stepping: 2 });
    expect(processorOfSignature(0x00b00f21)).toEqual({ family: 0x1a, model: 0x02, stepping: 1 });
    expect(processorOfSignature(0x00000611)).toEqual({ family: 6, model: 1, stepping: 1 });
    expect(processorOfSignature(0x00a00611).family).toBe(6);
  });

  test('ignores the bits that are no part of it', () => {
    expect(processorOfSignature(0xf0a0ff11)).toEqual(processorOfSignature(0x00a00f11));
  });

  test('reads what it writes', () => {
    const processors = fc.record({
      family: fc.integer({ min: 15, max: 270 }),
      model: fc.nat(255),
      stepping: fc.nat(15),
    });
    fc.assert(
      fc.property(processors, (each) => {
        expect(processorOfSignature(cpuidSignature(each))).toEqual(each);
      }),
    );
  });

  test.each([-1, 2 ** 32, 0.5, Number.NaN])('%s is none', (word) => {
    expect(() => processorOfSignature(word)).toThrow(InvalidArgumentError);
  });
});
