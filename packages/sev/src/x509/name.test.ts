import { expect, test } from 'vitest';
import { commonName, nameText, sameName } from './name.js';

const cn = (value: string) => ({ type: 'CN', value });
const o = (value: string) => ({ type: 'O', value });

test('names are the same when every attribute is, in order', () => {
  expect(sameName([o('a'), cn('b')], [o('a'), cn('b')])).toBe(true);
  expect(sameName([o('a'), cn('b')], [cn('b'), o('a')])).toBe(false);
  expect(sameName([o('a')], [o('a'), cn('b')])).toBe(false);
  expect(sameName([o('a'), cn('b')], [o('a')])).toBe(false);
  expect(sameName([o('a')], [cn('a')])).toBe(false);
  expect(sameName([o('a')], [o('A')])).toBe(false);
  expect(sameName([], [])).toBe(true);
});

test('a name in words cannot pretend to have more attributes', () => {
  expect(nameText([o('a'), cn('b')])).toBe('O=a, CN=b');
  expect(nameText([o('a, CN=b')])).toBe('O=a\\, CN=b');
  expect(nameText([o('a\\')])).toBe('O=a\\\\');
});

test('there is one common name or none', () => {
  expect(commonName([o('a'), cn('b')])).toBe('b');
  expect(commonName([o('a')])).toBeUndefined();
  expect(commonName([cn('a'), cn('a')])).toBeUndefined();
});
