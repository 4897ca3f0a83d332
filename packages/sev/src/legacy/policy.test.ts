import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { InvalidArgumentError } from '../errors.js';
import { apiAtLeast } from './api-version.js';
import { buildGuestPolicy, explainGuestPolicy, minimumApiOf, parseGuestPolicy } from './policy.js';

const statement = (word: number, label: string) =>
  explainGuestPolicy(word).find((each) => each.label === label);

describe('guest policy', () => {
  test('has its bits where the specification has them', () => {
    expect(buildGuestPolicy({ noDebug: true })).toBe(1);
    expect(buildGuestPolicy({ noKeySharing: true })).toBe(2);
    expect(buildGuestPolicy({ encryptedState: true })).toBe(4);
    expect(buildGuestPolicy({ noSend: true })).toBe(8);
    expect(buildGuestPolicy({ domain: true })).toBe(16);
    expect(buildGuestPolicy({ sev: true })).toBe(32);
    expect(buildGuestPolicy({ apiMajor: 1, apiMinor: 0x37 })).toBe(0x37010000);
  });

  test('reads the minimum API as two whole bytes', () => {
    expect(minimumApiOf(0x37010001)).toEqual({ apiMajor: 1, apiMinor: 55 });
    expect(minimumApiOf(0xcdab0000)).toEqual({ apiMajor: 0xab, apiMinor: 0xcd });
  });

  test('keeps all 32 bits', () => {
    fc.assert(
      fc.property(fc.nat(0xffffffff), (word) => {
        const policy = parseGuestPolicy(word);
        expect(policy.word).toBe(word);
        expect(buildGuestPolicy(policy) + policy.reservedBits).toBe(word);
      }),
    );
  });

  test.each([-1, 2 ** 32])('%d is not a policy', (word) => {
    expect(() => parseGuestPolicy(word)).toThrow(InvalidArgumentError);
    expect(() => explainGuestPolicy(word)).toThrow(InvalidArgumentError);
  });

  test('a number that is not whole is not a policy', () => {
    expect(() => parseGuestPolicy(1.5)).toThrow(InvalidArgumentError);
    expect(() => parseGuestPolicy(Number.NaN)).toThrow(InvalidArgumentError);
  });
});

describe('explaining a policy', () => {
  test('policy 0 leaves everything open', () => {
    expect(statement(0, 'NOSEND')?.consequence).toBe('this guest can be migrated to anyone');
    const open = explainGuestPolicy(0).filter(({ concern }) => concern === 'open');
    expect(open.map(({ label }) => label)).toEqual(['NODBG', 'NOKS', 'ES', 'NOSEND', 'SEV', 'API']);
  });

  test('a strict policy leaves nothing open', () => {
    const strict = buildGuestPolicy({
      noDebug: true,
      noKeySharing: true,
      encryptedState: true,
      noSend: true,
      apiMajor: 1,
      apiMinor: 55,
    });
    expect(explainGuestPolicy(strict).filter(({ concern }) => concern === 'open')).toEqual([]);
    expect(statement(strict, 'API')?.consequence).toContain('older than API 1.55');
  });

  test.each([
    [{}, 'this guest can be migrated to anyone', 'open'],
    [{ domain: true }, 'a platform of the same owner', 'info'],
    [{ sev: true }, 'migrated to any genuine SEV platform', 'info'],
    [{ sev: true, domain: true }, 'genuine SEV platforms of the same owner', 'info'],
    [{ noSend: true }, 'cannot be migrated', 'closed'],
    [{ noSend: true, sev: true, domain: true }, 'cannot be migrated', 'closed'],
  ])('says where a guest with %j can go', (bits, words, concern) => {
    const told = statement(buildGuestPolicy(bits), 'NOSEND');
    expect(told?.consequence).toContain(words);
    expect(told?.concern).toBe(concern);
  });

  test('names each reserved bit that is set', () => {
    const reserved = explainGuestPolicy(0x8041).filter(({ label }) => label.startsWith('bit'));
    expect(reserved.map(({ label }) => label)).toEqual(['bit 6', 'bit 15']);
  });
});

describe('versions of the API', () => {
  test.each([
    [[0, 17], [0, 17], true],
    [[0, 16], [0, 17], false],
    [[1, 0], [0, 99], true],
    [[0, 99], [1, 0], false],
  ] as const)('%j at least %j: %j', ([major, minor], [leastMajor, leastMinor], expected) => {
    const version = { apiMajor: major, apiMinor: minor };
    expect(apiAtLeast(version, { apiMajor: leastMajor, apiMinor: leastMinor })).toBe(expected);
  });
});
