import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fromHex, toHex } from '../bytes.js';
import { InvalidArgumentError } from '../errors.js';
import { guidFromBytes, guidFromTextOrder, guidToBytes, guidToTextOrder, zeroGuid } from './guid.js';

test('the first three groups are little-endian, as OVMF stores them', () => {
  const bytes = 'de82b596b21ff745baeaa366c55a082d';
  expect(toHex(guidToBytes('96b582de-1fb2-45f7-baea-a366c55a082d'))).toBe(bytes);
  expect(guidFromBytes(fromHex(bytes))).toBe('96b582de-1fb2-45f7-baea-a366c55a082d');
  expect(guidFromBytes(new Uint8Array(16))).toBe(zeroGuid);
});

test('or all groups stand as written, as the host’s certificate table stores them', () => {
  const bytes = '96b582de1fb245f7baeaa366c55a082d';
  expect(toHex(guidToTextOrder('96B582DE-1fb2-45f7-baea-a366c55a082d'))).toBe(bytes);
  expect(guidFromTextOrder(fromHex(bytes))).toBe('96b582de-1fb2-45f7-baea-a366c55a082d');
  expect(() => guidFromTextOrder(new Uint8Array(15))).toThrow(InvalidArgumentError);
  expect(() => guidToTextOrder(bytes)).toThrow(InvalidArgumentError);
});

test('either case is read, lower case is written', () => {
  expect(guidFromBytes(guidToBytes('96B582DE-1FB2-45F7-BAEA-A366C55A082D'))).toBe(
    '96b582de-1fb2-45f7-baea-a366c55a082d',
  );
});

test('bytes survive the journey through text', () => {
  const bytes = fc.uint8Array({ minLength: 16, maxLength: 16 });
  fc.assert(
    fc.property(bytes, (each) => {
      expect(guidToBytes(guidFromBytes(each))).toEqual(each);
    }),
  );
});

test.each([
  '',
  '96b582de1fb245f7baeaa366c55a082d',
  '{96b582de-1fb2-45f7-baea-a366c55a082d}',
  '96b582de-1fb2-45f7-baea-a366c55a082',
  '96b582de-1fb2-45f7-baea-a366c55a082g',
  '96b582de-1fb2-45f7-baea-a366c55a082d\n',
])('%j is not a GUID', (text) => {
  expect(() => guidToBytes(text)).toThrow(InvalidArgumentError);
});

test.each([0, 15, 17])('%i bytes are not a GUID', (length) => {
  expect(() => guidFromBytes(new Uint8Array(length))).toThrow(InvalidArgumentError);
});
