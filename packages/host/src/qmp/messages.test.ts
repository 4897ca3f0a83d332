import fc from 'fast-check';
import { expect, test } from 'vitest';
import { splitJson } from './messages.js';

const encode = (text: string) => new TextEncoder().encode(text);

function split(chunks: readonly Uint8Array[], limit = 1 << 20) {
  const texts: string[] = [];
  const feed = splitJson(limit, (text) => texts.push(text));
  const fits = chunks.every(feed);
  return { texts, fits };
}

test('any objects and lists, however they are joined and cut, come out one by one', () => {
  const values = fc.array(fc.oneof(fc.dictionary(fc.string(), fc.jsonValue()), fc.array(fc.jsonValue())), {
    maxLength: 6,
  });
  const joints = fc.array(fc.constantFrom('', ' ', '\n', '\r\n', '\t \n'), { minLength: 7, maxLength: 7 });
  const cuts = fc.array(fc.nat(2000), { maxLength: 10 });
  fc.assert(
    fc.property(values, joints, cuts, (objects, between, places) => {
      const bytes = encode(
        objects.map((value, i) => between[i]! + JSON.stringify(value)).join('') + between[6]!,
      );
      const at = [
        ...new Set([0, ...places.map((place) => place % (bytes.length + 1)), bytes.length]),
      ].toSorted((a, b) => a - b);
      const chunks = at.slice(1).map((end, i) => bytes.subarray(at[i]!, end));
      expect(split(chunks).texts.map((text) => JSON.parse(text))).toEqual(
        JSON.parse(JSON.stringify(objects)),
      );
    }),
    { numRuns: 500 },
  );
});

test('no bytes make it throw, or hold more than its limit', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 80 }), { maxLength: 10 }), (chunks) => {
      const { texts, fits } = split(chunks, 64);
      if (fits) for (const text of texts) expect(encode(text).length).toBeLessThanOrEqual(3 * 64);
    }),
    { numRuns: 2000 },
  );
});

test.each([
  ['"x" {"a":1}\n', ['"x"', '{"a":1}']],
  ['nonsense {"a":1}', ['nonsense', '{"a":1}']],
  ['}{"a":"}"}', ['}', '{"a":"}"}']],
  ['{"a":"\\""}', ['{"a":"\\""}']],
  ['{"a":', []],
])('%j is %j', (text, expected) => {
  expect(split([encode(text)]).texts).toEqual(expected);
});

test('the limit counts one value, not the stream', () => {
  const one = encode(`{"a":"${'x'.repeat(50)}"}\n`);
  expect(
    split(
      Array.from({ length: 20 }, () => one),
      64,
    ).fits,
  ).toBe(true);
  expect(split([encode(`{"a":"${'x'.repeat(65)}`)], 64).fits).toBe(false);
  expect(
    split(
      Array.from({ length: 65 }, () => encode('[')),
      64,
    ).fits,
  ).toBe(false);
});
