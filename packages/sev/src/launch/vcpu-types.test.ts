import { describe, expect, test } from 'vitest';
import { InvalidArgumentError } from '../errors.js';
import { vcpuSignature, vcpuSignatureOf, vcpuTypes } from './vcpu-types.js';

describe('vCPU signatures', () => {
  test.each([
    ['EPYC', 0x00800f12],
    ['EPYC-v4', 0x00800f12],
    ['EPYC-IBPB', 0x00800f12],
    ['EPYC-Rome-v2', 0x00830f10],
    ['EPYC-Milan', 0x00a00f11],
    ['EPYC-Genoa-v1', 0x00a10f10],
    ['EPYC-Turin', 0x00b00f00],
  ])('of %s', (type, signature) => {
    expect(vcpuSignatureOf(type)).toBe(signature);
  });

  test('old families have no extension', () => {
    expect(vcpuSignature({ family: 15, model: 0, stepping: 0 })).toBe(0xf00);
    expect(vcpuSignature({ family: 6, model: 0x3f, stepping: 2 })).toBe(0x306f2);
  });

  test('every known type has a positive signature of 28 bits', () => {
    for (const type of Object.keys(vcpuTypes)) {
      expect(vcpuSignatureOf(type)).toBeGreaterThan(0);
      expect(vcpuSignatureOf(type)).toBeLessThan(2 ** 28);
    }
  });

  test.each(['', 'epyc', 'EPYC-v9', 'toString', '__proto__'])('%j is not known', (type) => {
    const unknown = expect.objectContaining({ code: 'invalid-argument', argument: 'vCPU type' });
    expect(() => vcpuSignatureOf(type)).toThrow(unknown);
  });

  test.each([
    { family: -1, model: 0, stepping: 0 },
    { family: 271, model: 0, stepping: 0 },
    { family: 23, model: 256, stepping: 0 },
    { family: 23, model: 1, stepping: 16 },
    { family: 23, model: 1.5, stepping: 0 },
  ])('refuses %j', (model) => {
    expect(() => vcpuSignature(model)).toThrow(InvalidArgumentError);
  });
});
