import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { toHex } from '../bytes.js';
import { InvalidArgumentError, MalformedError } from '../errors.js';
import { DerReader } from './der.js';
import { tags } from './der-tags.js';
import { derText } from './der-writer.js';
import { derTime, readTime, timeText } from './time.js';

const read = (bytes: Uint8Array) => readTime(new DerReader(bytes, { structure: 'thing' }), 'time');
const utc = (text: string) => () => read(derText(tags.utcTime, text));
const generalized = (text: string) => () => read(derText(tags.generalizedTime, text));

describe('a time', () => {
  test.each([
    ['000101000000Z', '2000-01-01T00:00:00Z'],
    ['491231235959Z', '2049-12-31T23:59:59Z'],
    ['500101000000Z', '1950-01-01T00:00:00Z'],
    ['991231235959Z', '1999-12-31T23:59:59Z'],
    ['240229120000Z', '2024-02-29T12:00:00Z'],
  ])('UTCTime %s is %s', (text, iso) => {
    expect(timeText(utc(text)())).toBe(iso);
  });

  test('GeneralizedTime is for 2050 and later', () => {
    expect(timeText(generalized('20500101000000Z')())).toBe('2050-01-01T00:00:00Z');
    expect(timeText(generalized('99991231235959Z')())).toBe('9999-12-31T23:59:59Z');
    expect(generalized('20491231235959Z')).toThrow('from 2050 on');
  });

  test.each([
    '',
    '2402291200Z',
    '240229120000',
    '240229120000+0000',
    '240229120000z',
    '240229120000Z ',
    '20240229120000Z',
    '240229120060Z',
    '240229126000Z',
    '240229240000Z',
    '240230120000Z',
    '230229120000Z',
    '240431120000Z',
    '240001120000Z',
    '241301120000Z',
    '240100120000Z',
    '2401-1120000Z',
  ])('UTCTime %j is refused', (text) => {
    expect(utc(text)).toThrow(MalformedError);
  });

  test.each(['20500101000000.5Z', '205001010000Z', '20500101000000', '500101000000Z', '20500230000000Z'])(
    'GeneralizedTime %j is refused',
    (text) => {
      expect(generalized(text)).toThrow(MalformedError);
    },
  );

  test('a complaint holds nothing that a terminal would obey', () => {
    expect(utc('\u001b[31m')).toThrow('found ?[31m');
    expect(utc('')).toThrow('found nothing');
  });

  test('any whole second comes back, in the form of its year', () => {
    const seconds = fc.integer({ min: Date.UTC(1950, 0, 1) / 1000, max: Date.UTC(9999, 11, 31) / 1000 });
    const property = fc.property(seconds, (each) => {
      const bytes = derTime(each * 1000);
      expect(read(bytes)).toBe(each * 1000);
      expect(bytes[0]).toBe(
        new Date(each * 1000).getUTCFullYear() < 2050 ? tags.utcTime : tags.generalizedTime,
      );
    });
    fc.assert(property);
    expect(toHex(derTime(Date.UTC(2050, 0, 1)))).toBe(
      `180f${toHex(new TextEncoder().encode('20500101000000Z'))}`,
    );
  });

  test.each([Date.UTC(1949, 11, 31), Date.UTC(10000, 0, 1), 1500, Number.NaN])(
    '%d is not written',
    (time) => {
      expect(() => derTime(time)).toThrow(InvalidArgumentError);
    },
  );
});
