import { beforeAll, describe, expect, test } from 'vitest';
import { RefusedError } from '../appraisal/appraisal.js';
import { concat, toBase64 } from '../bytes.js';
import { MalformedError, VouchsafeError } from '../errors.js';
import {
  endorse,
  generateCaKey,
  generatePlatformKeys,
  makeAuthority,
  makePlatform,
} from '../testing/development-platform.js';
import { describeWithVectors, vectors } from '../testing/vectors.js';
import { buildExport, type PlatformChain, parseChainFiles } from './bundle.js';

let chain: Required<PlatformChain>;
let other: Required<PlatformChain>;
let endorsedAgain: Uint8Array;

beforeAll(async () => {
  const authority = await makeAuthority('naples', generateCaKey(2048), generateCaKey(2048));
  const keys = await generatePlatformKeys();
  chain = await makePlatform(authority, keys);
  other = await makePlatform(authority, await generatePlatformKeys());
  endorsedAgain = endorse(authority, chain.exportedCek.raw);
});

const ascii = (text: string) => new TextEncoder().encode(text);
const file = (bytes: Uint8Array, name = 'file') => ({ name, bytes });
const bytesOf = (parsed: PlatformChain) =>
  Object.fromEntries(
    Object.entries(parsed).map(([role, { raw }]: [string, { raw: Uint8Array }]) => [role, raw]),
  );
const expectRoles = (parsed: PlatformChain, ...roles: (keyof PlatformChain)[]) =>
  expect(bytesOf(parsed)).toEqual(Object.fromEntries(roles.map((role) => [role, chain[role].raw])));

const six = ['pdh', 'pek', 'oca', 'cek', 'ask', 'ark'] as const;
const buffer = () => concat(chain.pek.raw, chain.oca.raw, chain.exportedCek.raw);

describe('packagings', () => {
  test('single files, in any order', () => {
    expectRoles(parseChainFiles([...six].reverse().map((role) => file(chain[role].raw, role))), ...six);
  });

  test('the export of sevctl, short and full', () => {
    expect(buildExport(chain).length).toBe(8336);
    expect(buildExport(chain, { full: true }).length).toBe(10_000);
    expectRoles(parseChainFiles([file(buildExport(chain))]), 'pdh', 'pek', 'oca', 'cek');
    expectRoles(parseChainFiles([file(buildExport(chain, { full: true }))]), ...six);
  });

  test('the chip’s buffer with the PDH, then AMD’s signed CEK, then ASK and ARK', () => {
    const parsed = parseChainFiles([
      file(chain.pdh.raw),
      file(buffer()),
      file(chain.cek.raw),
      file(concat(chain.ask.raw, chain.ark.raw)),
    ]);
    expectRoles(parsed, ...six, 'exportedCek');
    const reordered = parseChainFiles([file(chain.cek.raw), file(buffer())]);
    expectRoles(reordered, 'pek', 'oca', 'cek', 'exportedCek');
  });

  test('the chip’s buffer alone', () => {
    expect(parseChainFiles([file(buffer())]).cek?.raw).toEqual(chain.exportedCek.raw);
  });

  test('base64, with line breaks', () => {
    const text = toBase64(buildExport(chain, { full: true })).replace(/.{64}/g, '$&\r\n');
    expectRoles(parseChainFiles([file(ascii(`${text}\n`))]), ...six);
  });

  test('QMP’s answer, with and without its envelope', () => {
    const answer = { pdh: toBase64(chain.pdh.raw), 'cert-chain': toBase64(buffer()), cbitpos: 51 };
    for (const document of [answer, { return: answer, id: 1 }]) {
      const parsed = parseChainFiles([file(ascii(JSON.stringify(document, null, 2)))]);
      expect(parsed.pdh?.raw).toEqual(chain.pdh.raw);
      expect(parsed.cek?.raw).toEqual(chain.exportedCek.raw);
    }
  });

  test('byte lists of the KBS protocol', () => {
    const list = (role: (typeof six)[number]) => [...chain[role].raw];
    const sev = { pdh: list('pdh'), pek: list('pek'), oca: list('oca'), cek: list('cek') };
    const document = { build: {}, chain: { ca: { ask: list('ask'), ark: list('ark') }, sev } };
    expectRoles(parseChainFiles([file(ascii(JSON.stringify(document)))]), ...six);
  });

  test('the same certificate twice', () => {
    expectRoles(parseChainFiles([file(buildExport(chain)), file(chain.pdh.raw)]), 'pdh', 'pek', 'oca', 'cek');
  });

  test('nothing at all gives an empty chain', () => {
    expect(parseChainFiles([])).toEqual({});
  });
});

describe('refusals', () => {
  test.each(six)('two different %s certificates', (role) => {
    const twin = role === 'ask' || role === 'ark' ? differing(chain[role].raw) : other[role].raw;
    expect(() => parseChainFiles([file(chain[role].raw), file(twin, 'second')])).toThrow(RefusedError);
    expect(() => parseChainFiles([file(chain[role].raw), file(twin, 'second')])).toThrow(
      `(chain.roles): expected one certificate in each role, found second holds a second ${role.toUpperCase()}`,
    );
  });

  test('two endorsements of one CEK, which differ in their salt', () => {
    expect(() => parseChainFiles([file(chain.cek.raw), file(endorsedAgain)])).toThrow(RefusedError);
    expect(() => parseChainFiles([file(buffer()), file(other.exportedCek.raw)])).toThrow(RefusedError);
  });

  test.each<[string, () => Uint8Array, string]>([
    ['nothing', () => new Uint8Array(), 'nothing'],
    ['a truncated certificate', () => chain.pdh.raw.subarray(0, 2083), '2083 bytes'],
    ['trailing bytes', () => concat(chain.pdh.raw, Uint8Array.of(0)), 'other bytes'],
    ['a truncated CA certificate', () => chain.ark.raw.subarray(0, 831), '831 bytes'],
    ['a zip archive', () => concat(ascii('PK'), Uint8Array.of(3, 4), new Uint8Array(100)), 'a zip archive'],
    ['text', () => ascii('hello!'), 'other text'],
    ['broken JSON', () => ascii('{"pdh": '), 'no JSON'],
    ['JSON without certificates', () => ascii('{"error": {"class": "GenericError"}}'), 'none of them'],
    ['JSON with odd members', () => ascii('{"pdh": {"length": 4}}'), 'something else'],
    ['numbers that are no bytes', () => ascii('{"pdh": [1, 256]}'), 'something else'],
    ['base64 of nothing', () => ascii('{"pdh": ""}'), 'nothing'],
    [
      'JSON that hides the certificates deep',
      () => ascii(`${'{"chain":'.repeat(9)}{"pdh":""}${'}'.repeat(9)}`),
      'none',
    ],
  ])('%s', (_what, bytes, found) => {
    expect(() => parseChainFiles([file(bytes(), 'input.bin')])).toThrow(MalformedError);
    expect(() => parseChainFiles([file(bytes(), 'input.bin')])).toThrow(found);
    expect(() => parseChainFiles([file(bytes(), 'input.bin')])).toThrow(/^input\.bin/);
  });

  test('a malformed certificate inside a file is found at its offset in the file', () => {
    const bytes = buildExport(chain, { full: true });
    bytes[2084 + 6] = 1;
    expect(() => parseChainFiles([file(bytes, 'export')])).toThrow(
      'export, PEK certificate: reserved at offset 0x82a: expected zero in reserved bytes, found 0x1',
    );
  });

  test('an export wants the certificates that it is made of', () => {
    const { ark: _ark, ...rest } = chain;
    expect(() => buildExport(rest, { full: true })).toThrow('has no ARK certificate');
    expect(buildExport(rest).length).toBe(8336);
  });

  test('every truncation of an export is refused or shorter by whole certificates', () => {
    const whole = buildExport(chain, { full: true });
    const ends = new Set([2084, 4168, 6252, 8336, 9168]);
    for (let length = 0; length < whole.length; length += 7) {
      const parse = () => parseChainFiles([file(whole.subarray(0, length))]);
      if (!ends.has(length)) expect(parse, String(length)).toThrow(VouchsafeError);
    }
  });
});

function differing(certificate: Uint8Array): Uint8Array {
  const copy = certificate.slice();
  copy[copy.length - 1]! ^= 1;
  return copy;
}

describeWithVectors('AMD’s files', () => {
  test('ASK‖ARK of 4096 bits', () => {
    const bytes = concat(vectors('sev/ca/milan/ask.cert'), vectors('sev/ca/milan/ark.cert'));
    const parsed = parseChainFiles([file(bytes)]);
    expect([parsed.ask?.modulusBits, parsed.ark?.modulusBits]).toEqual([4096, 4096]);
  });

  test('the Naples ARK without its signature is refused with a hint', () => {
    const bytes = vectors('sev/naples/ark.cert.bad');
    expect(() => parseChainFiles([file(bytes, 'ark.cert')])).toThrow('too short by exactly the signature');
  });
});
