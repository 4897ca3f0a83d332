import { fromHex, InvalidArgumentError } from '@vouchsafe/sev';
import { describe, expect, test } from 'vitest';
import { endorsementPath, readEndorsementPath, requestText, vcekRequest } from './endorsement-request.js';

const chipId = fromHex('a1'.repeat(64));
const turinId = fromHex(`a1b2c3d4e5f60718${'00'.repeat(56)}`);
const tcb = { bootloader: 3, tee: 0, snp: 8, microcode: 115 };
const query = 'blSPL=3&teeSPL=0&snpSPL=8&ucodeSPL=115';

describe('paths of AMD’s service', () => {
  test.each([
    [vcekRequest({ line: 'Milan', chipId, tcb }), `/vcek/v1/Milan/${'a1'.repeat(64)}?${query}`],
    [
      vcekRequest({ line: 'Turin', chipId: turinId, tcb: { fmc: 1, ...tcb } }),
      `/vcek/v1/Turin/a1b2c3d4e5f60718?fmcSPL=1&${query}`,
    ],
    [{ what: 'vlek', line: 'Genoa', tcb }, `/vlek/v1/Genoa/cert?${query}`],
    [{ what: 'chain', kind: 'VCEK', line: 'Milan' }, '/vcek/v1/Milan/cert_chain'],
    [{ what: 'chain', kind: 'VLEK', line: 'Turin' }, '/vlek/v1/Turin/cert_chain'],
    [{ what: 'crl', kind: 'VCEK', line: 'Genoa' }, '/vcek/v1/Genoa/crl'],
    [{ what: 'crl', kind: 'VLEK', line: 'Milan' }, '/vlek/v1/Milan/crl'],
  ] as const)('%j', (request, path) => {
    expect(endorsementPath(request)).toBe(path);
    expect(readEndorsementPath(path)).toEqual(request);
    expect(requestText(request)).toContain(request.line);
  });

  test('Turin is asked by 8 bytes, given as 8 or as the 64 of a report', () => {
    const chip = { line: 'Turin', tcb: { fmc: 0, ...tcb } } as const;
    expect(vcekRequest({ ...chip, chipId: turinId.slice(0, 8) })).toEqual(
      vcekRequest({ ...chip, chipId: turinId }),
    );
  });

  test('numbers with zeros before them, other orders and upper-case digits are read', () => {
    const path = `/vcek/v1/Milan/${'A1'.repeat(64)}?ucodeSPL=115&snpSPL=08&teeSPL=00&blSPL=03`;
    expect(readEndorsementPath(path)).toEqual(vcekRequest({ line: 'Milan', chipId, tcb }));
  });

  test.each([
    ['another product', `/vcek/v1/Naples/${'a1'.repeat(64)}?${query}`],
    ['a product in lower case', `/vcek/v1/milan/${'a1'.repeat(64)}?${query}`],
    ['a Turin id for Milan', `/vcek/v1/Milan/a1b2c3d4e5f60718?${query}`],
    ['a Milan id for Turin', `/vcek/v1/Turin/${'a1'.repeat(64)}?fmcSPL=1&${query}`],
    ['FMC for Milan', `/vcek/v1/Milan/${'a1'.repeat(64)}?fmcSPL=1&${query}`],
    ['no FMC for Turin', `/vcek/v1/Turin/a1b2c3d4e5f60718?${query}`],
    ['a masked chip id', `/vcek/v1/Milan/${'00'.repeat(64)}?${query}`],
    ['no query', `/vcek/v1/Milan/${'a1'.repeat(64)}`],
    ['a missing parameter', `/vcek/v1/Milan/${'a1'.repeat(64)}?blSPL=3&teeSPL=0&snpSPL=8`],
    ['a parameter twice', `/vcek/v1/Milan/${'a1'.repeat(64)}?${query}&blSPL=3`],
    ['another parameter', `/vcek/v1/Milan/${'a1'.repeat(64)}?${query}&x=1`],
    ['a parameter of every object', `/vcek/v1/Milan/${'a1'.repeat(64)}?${query}&valueOf=1`],
    ['256', `/vcek/v1/Milan/${'a1'.repeat(64)}?blSPL=256&teeSPL=0&snpSPL=8&ucodeSPL=115`],
    ['hexadecimal', `/vcek/v1/Milan/${'a1'.repeat(64)}?blSPL=0x3&teeSPL=0&snpSPL=8&ucodeSPL=115`],
    ['an escape', '/vcek/v1/Milan/cert%5fchain'],
    ['a path out', '/vcek/v1/Milan/../cert_chain'],
    ['more behind it', '/vcek/v1/Milan/cert_chain/x'],
    ['a query on a chain', '/vcek/v1/Milan/cert_chain?x=1'],
    ['an empty query on a list', '/vcek/v1/Milan/crl?'],
    ['a VCEK by the name of the VLEK', `/vcek/v1/Milan/cert?${query}`],
    ['a chip’s VLEK', `/vlek/v1/Milan/${'a1'.repeat(64)}?${query}`],
    ['another version', '/vcek/v2/Milan/crl'],
    ['a line after it', '/vcek/v1/Milan/crl\n'],
    ['another host', 'http://example.com/vcek/v1/Milan/crl'],
  ])('%s is none of them', (_name, path) => {
    expect(readEndorsementPath(path)).toBeUndefined();
  });
});

describe('a request for a VCEK', () => {
  test.each<[string, Parameters<typeof vcekRequest>[0], RegExp]>([
    ['a masked chip id', { line: 'Milan', chipId: new Uint8Array(64), tcb }, /masked/],
    ['a short id', { line: 'Genoa', chipId: chipId.slice(1), tcb }, /64 bytes, found 63/],
    ['an id of 8 bytes for Milan', { line: 'Milan', chipId: chipId.slice(0, 8), tcb }, /64 bytes, found 8/],
    [
      'an id of 64 bytes for Turin',
      { line: 'Turin', chipId, tcb: { fmc: 1, ...tcb } },
      /not zero to the end/,
    ],
    ['no FMC for Turin', { line: 'Turin', chipId: turinId, tcb }, /an FMC component/],
    ['FMC for Genoa', { line: 'Genoa', chipId, tcb: { fmc: 1, ...tcb } }, /no FMC component/],
    ['256', { line: 'Genoa', chipId, tcb: { ...tcb, snp: 256 } }, /0 to 255 for snpSPL/],
    ['-1', { line: 'Genoa', chipId, tcb: { ...tcb, tee: -1 } }, /0 to 255 for teeSPL/],
    ['half', { line: 'Genoa', chipId, tcb: { ...tcb, tee: 0.5 } }, /0 to 255 for teeSPL/],
  ])('%s is refused', (_name, chip, message) => {
    expect(() => vcekRequest(chip)).toThrow(InvalidArgumentError);
    expect(() => vcekRequest(chip)).toThrow(message);
  });
});
