import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { InvalidArgumentError, MalformedError } from '../errors.js';
import {
  buildSnpGuestPolicy,
  explainSnpPolicy,
  parseSnpGuestPolicy,
  snpGuestPolicyBits,
} from './guest-policy.js';
import { parseSnpPlatformInfo } from './platform-info.js';
import { buildSignerInfo, parseSignerInfo } from './signer-info.js';

describe('SNP guest policy', () => {
  test.each([
    [0, 'abiMinor', 1],
    [8, 'abiMajor', 1],
    [16, 'smt', true],
    [18, 'migrationAgent', true],
    [19, 'debug', true],
    [20, 'singleSocket', true],
    [21, 'cxlAllowed', true],
    [22, 'aes256Xts', true],
    [23, 'raplDisabled', true],
    [24, 'ciphertextHiding', true],
    [25, 'pageSwapDisabled', true],
  ] as const)('bit %i is %s', (bit, name, value) => {
    const zero = parseSnpGuestPolicy(0x20000n);
    const word = 0x20000n | (1n << BigInt(bit));
    expect(parseSnpGuestPolicy(word)).toEqual({ ...zero, [name]: value, word });
    expect(buildSnpGuestPolicy({ [name]: value })).toBe(word);
  });

  test('bit 17 is one, bits 26 and up are zero', () => {
    expect(() => parseSnpGuestPolicy(0x10000n, { offset: 8, path: 'report, policy' })).toThrow(
      'report, policy: bit 17 at offset 0x8: expected one, found zero',
    );
    for (let bit = 26n; bit < 64n; bit++)
      expect(() => parseSnpGuestPolicy(0x20000n | (1n << bit))).toThrow(MalformedError);
  });

  test('is a word of 64 bits', () => {
    for (const word of [-1n, 1n << 64n]) {
      expect(() => parseSnpGuestPolicy(word)).toThrow(InvalidArgumentError);
      expect(() => explainSnpPolicy(word)).toThrow(InvalidArgumentError);
    }
  });

  test('reads what it writes', () => {
    const words = fc.bigInt(0n, (1n << 26n) - 1n).map((word) => word | 0x20000n);
    fc.assert(fc.property(words, (word) => buildSnpGuestPolicy(parseSnpGuestPolicy(word)) === word));
  });
});

describe('SNP guest policy in words', () => {
  const concerns = (word: bigint) =>
    Object.fromEntries(explainSnpPolicy(word).map(({ label, concern }) => [label, concern]));

  test('of the usual policy', () => {
    expect(concerns(0x30000n)).toEqual({
      DEBUG: 'closed',
      MIGRATE_MA: 'closed',
      SMT: 'open',
      CXL_ALLOW: 'closed',
      SINGLE_SOCKET: 'info',
      MEM_AES_256_XTS: 'info',
      RAPL_DIS: 'open',
      CIPHERTEXT_HIDING_DRAM: 'open',
      PAGE_SWAP_DISABLE: 'info',
      ABI: 'open',
    });
  });

  test('of the opposite', () => {
    const word = 0x20000n | (0xffn << 18n) | 0x0137n;
    expect(concerns(word)).toEqual({
      DEBUG: 'open',
      MIGRATE_MA: 'open',
      SMT: 'closed',
      CXL_ALLOW: 'open',
      SINGLE_SOCKET: 'closed',
      MEM_AES_256_XTS: 'closed',
      RAPL_DIS: 'closed',
      CIPHERTEXT_HIDING_DRAM: 'closed',
      PAGE_SWAP_DISABLE: 'closed',
      ABI: 'closed',
    });
    const abi = explainSnpPolicy(word).find(({ label }) => label === 'ABI');
    expect(abi?.consequence).toBe('firmware older than ABI 1.55 cannot launch the guest');
  });

  test('says whether each bit is set', () => {
    for (const [, range] of Object.entries(snpGuestPolicyBits.ranges)) {
      if (range.width > 1 || range.low === 17) continue;
      const find = (word: bigint) => explainSnpPolicy(word).find(({ label }) => label === range.label);
      const set = find(0x20000n | (1n << BigInt(range.low)));
      const unset = find(0x20000n);
      expect([set?.set, unset?.set]).toEqual([true, false]);
      expect(set?.consequence).not.toBe(unset?.consequence);
    }
  });

  test('names what firmware refuses', () => {
    expect(explainSnpPolicy((1n << 63n) | (1n << 26n)).slice(-3)).toEqual([
      {
        label: 'bit 17',
        set: false,
        consequence: 'reserved, must be one: firmware refuses to launch the guest',
        concern: 'info',
      },
      ...[26, 63].map((bit) => ({
        label: `bit ${bit}`,
        set: true,
        consequence: 'reserved, must be zero: firmware refuses to launch the guest',
        concern: 'info',
      })),
    ]);
  });
});

describe('platform info', () => {
  test.each([
    [0, 'smtEnabled'],
    [1, 'tsmeEnabled'],
    [2, 'eccEnabled'],
    [3, 'raplDisabled'],
    [4, 'ciphertextHidingEnabled'],
    [5, 'aliasCheckComplete'],
    [7, 'tioEnabled'],
  ])('bit %i is %s', (bit, name) => {
    const word = 1n << BigInt(bit);
    expect(parseSnpPlatformInfo(word)).toEqual({ ...parseSnpPlatformInfo(0n), [name]: true, word });
  });

  test('keeps the bits that nobody documents', () => {
    expect(parseSnpPlatformInfo(0x8000_0000_0000_0365n)).toMatchObject({
      smtEnabled: true,
      word: 0x8000_0000_0000_0365n,
      unknownBits: 0x8000_0000_0000_0340n,
    });
    expect(() => parseSnpPlatformInfo(1n << 64n)).toThrow(InvalidArgumentError);
  });
});

describe('signer info', () => {
  test.each([
    [0x00, { authorKeyEnabled: false, maskChipKey: false, signingKey: 'VCEK' }],
    [0x01, { authorKeyEnabled: true, maskChipKey: false, signingKey: 'VCEK' }],
    [0x04, { authorKeyEnabled: false, maskChipKey: false, signingKey: 'VLEK' }],
    [0x1e, { authorKeyEnabled: false, maskChipKey: true, signingKey: 'none' }],
  ] as const)('0x%x', (word, info) => {
    expect(parseSignerInfo(word)).toEqual(info);
    expect(buildSignerInfo(info)).toBe(word);
  });

  test('of a reserved key or with reserved bits is refused', () => {
    for (const key of [2, 3, 4, 5, 6])
      expect(() => parseSignerInfo(key << 2)).toThrow(
        `SIGNING_KEY at offset 0x0: expected 0 VCEK, 1 VLEK or 7 none, found ${key}`,
      );
    for (let bit = 5; bit < 32; bit++) expect(() => parseSignerInfo(2 ** bit)).toThrow(MalformedError);
    expect(() => parseSignerInfo(2 ** 32)).toThrow(InvalidArgumentError);
  });
});
