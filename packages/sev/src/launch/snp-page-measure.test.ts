import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { concat, toHex } from '../bytes.js';
import { InvalidArgumentError, MalformedError } from '../errors.js';
import {
  emptySnpDigest,
  extendSnpDigest,
  measureSnpPages,
  type SnpPageRun,
  snpPageInfo,
  snpPageLinks,
} from './snp-page-measure.js';

const sha384 = (...parts: Uint8Array[]) =>
  createHash('sha384')
    .update(concat(...parts))
    .digest();

describe('pages of a SEV-SNP launch', () => {
  // The debugging values of the fact sheet on launch digests.
  test.each<[string, SnpPageRun, string]>([
    [
      'one ZERO page',
      { type: 'ZERO', gpa: 0, pages: 1 },
      '70c0ecaab9608f14ebf8ac6f0f07bcd8728f4e2ab30382b539b4de4de904ca9f8ebdf4b2cd3cd84dd996bd55dd794676',
    ],
    [
      'one NORMAL page of zeros',
      { type: 'NORMAL', gpa: 0, data: new Uint8Array(4096) },
      '9d13634b6014bb21cf059b2dc694e7bff01a8a7137041100cd2b695f3d10fb687267b97808b27f8f471d943bc6f53a20',
    ],
    [
      'one SECRETS page',
      { type: 'SECRETS', gpa: 0x80d000, pages: 1 },
      'e82e99caf82a32c31ec5070eef9e2135866d8f7de60d756814f3bd8c989c1e826622e0a97dad026c6d9d81818780e6a2',
    ],
  ])('%s', async (_what, run, expected) => {
    expect(toHex(await measureSnpPages(emptySnpDigest, run))).toBe(expected);
  });

  test('are hashed one by one, ascending, each with the digest before it', async () => {
    const data = Uint8Array.from({ length: 3 * 4096 }, (_, i) => i >> 12);
    const gpas = [0xffff_f000, 0x1_0000_0000, 0x1_0000_1000];
    const expected = gpas.reduce<Uint8Array>((digestCurrent, gpa, page) => {
      const contents = sha384(data.subarray(page * 4096, (page + 1) * 4096));
      const info = { digestCurrent, contents, pageType: 'NORMAL', gpa: BigInt(gpa) } as const;
      return sha384(snpPageInfo.build(info));
    }, emptySnpDigest);
    const run = { type: 'NORMAL', gpa: 0xffff_f000, data } as const;
    expect(toHex(await measureSnpPages(emptySnpDigest, run))).toBe(toHex(expected));
  });

  test('going on from a digest is the same as measuring everything', async () => {
    const runs = [
      { type: 'NORMAL', gpa: 0x1000, data: new Uint8Array(8192).fill(7) },
      { type: 'CPUID', gpa: 0x8000, pages: 1 },
      { type: 'UNMEASURED', gpa: 0x9000, pages: 3 },
    ] as const;
    const halfway = await measureSnpPages(emptySnpDigest, runs[0]);
    const whole = await measureSnpPages(emptySnpDigest, ...runs);
    expect(await measureSnpPages(halfway, ...runs.slice(1))).toEqual(whole);
    const links = concat(...(await Promise.all(runs.map(snpPageLinks))));
    expect(await extendSnpDigest(emptySnpDigest, links)).toEqual(whole);
    expect(await extendSnpDigest(whole, new Uint8Array())).toEqual(whole);
  });

  test.each<SnpPageRun>([
    { type: 'NORMAL', gpa: 0, data: new Uint8Array() },
    { type: 'VMSA', gpa: 0, data: new Uint8Array(4095) },
    { type: 'ZERO', gpa: 0, pages: 0 },
    { type: 'ZERO', gpa: 0, pages: 0.5 },
    { type: 'ZERO', gpa: 1, pages: 1 },
    { type: 'ZERO', gpa: -4096, pages: 1 },
    { type: 'ZERO', gpa: 2 ** 60, pages: 1 },
  ])('refuses $type at $gpa', async (run) => {
    await expect(measureSnpPages(emptySnpDigest, run)).rejects.toThrow(InvalidArgumentError);
  });
});

describe('PAGE_INFO', () => {
  test('every row stands where the specification has it', () => {
    const offsets = Object.fromEntries(
      Object.entries(snpPageInfo.fields).map(([name, row]) => [name, row.offset]),
    );
    expect(offsets).toEqual({
      digestCurrent: 0,
      contents: 0x30,
      length: 0x60,
      pageType: 0x62,
      imiPage: 0x63,
      reserved64: 0x64,
      vmpl1Permissions: 0x65,
      vmpl2Permissions: 0x66,
      vmpl3Permissions: 0x67,
      gpa: 0x68,
    });
  });

  const built = snpPageInfo.build({
    digestCurrent: new Uint8Array(48).fill(1),
    pageType: 'UNMEASURED',
    imiPage: { imiPage: true },
    vmpl3Permissions: 5,
    gpa: 0xffff_ffff_f000n,
  });

  test('is read as it was built', () => {
    expect(snpPageInfo.parse(built)).toMatchObject({
      length: 0x70,
      pageType: 'UNMEASURED',
      imiPage: { imiPage: true },
      vmpl1Permissions: 0,
      vmpl3Permissions: 5,
      gpa: 0xffff_ffff_f000n,
    });
  });

  test.each([
    ['length', 0x60, 0x71],
    ['page type', 0x62, 0],
    ['page type', 0x62, 7],
    ['bits beside IMI_PAGE', 0x63, 2],
    ['reserved byte', 0x64, 1],
  ])('refuses another %s', (_what, at, value) => {
    const changed = built.slice();
    changed[at] = value;
    expect(() => snpPageInfo.parse(changed)).toThrow(MalformedError);
  });
});
