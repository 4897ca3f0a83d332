import { InvalidArgumentError, MalformedError } from '@vouchsafe/sev';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonicalJson, jsonText } from './canonical-json.js';
import { greatestJsonDepth, parseStrictJson } from './strict-json.js';
import { utf8Text } from './utf8-text.js';

const read = (text: string) => parseStrictJson('document', text);

describe('strict JSON', () => {
  it('means what JSON.parse says', () => {
    const property = fc.property(
      fc.jsonValue({ maxDepth: 5 }),
      fc.constantFrom('', ' ', '\n\t'),
      (value, space) => {
        const text = JSON.stringify(value, undefined, space);
        fc.pre(!text.includes('__proto__') && !/\\ud[89a-f]/.test(text));
        const expected: unknown = JSON.parse(text, (_, each: unknown) =>
          Number.isInteger(each) && !Number.isSafeInteger(each) ? 'big' : each,
        );
        const found: unknown = JSON.parse(jsonText(read(text)), (_, each: unknown) =>
          Number.isInteger(each) && !Number.isSafeInteger(each) ? 'big' : each,
        );
        expect(found).toEqual(expected);
      },
    );
    fc.assert(property, { numRuns: 300 });
  });

  it('refuses what JSON.parse refuses', () => {
    const letters = fc.constantFrom(...'{}[],:"\\ntrue01-.eE+ fals/'.split(''));
    const property = fc.property(fc.array(letters, { maxLength: 12 }), (parts) => {
      const text = parts.join('');
      let accepted = true;
      try {
        JSON.parse(text);
      } catch {
        accepted = false;
      }
      if (!accepted) expect(() => read(text)).toThrow('text that is not JSON');
    });
    fc.assert(property, { numRuns: 2000 });
  });

  it('keeps whole numbers that a number would round', () => {
    expect(read('[9007199254740991,9007199254740992,-18446744073709551615,1e3,0.5,-0]')).toEqual([
      9007199254740991,
      9007199254740992n,
      -18446744073709551615n,
      1000,
      0.5,
      -0,
    ]);
  });

  it.each<[string, string, number]>([
    ['{"a":1,"a":2}', 'a member twice', 7],
    ['[{"b":{"a":1,"\\u0061":1}}]', 'a member twice', 13],
    ['{"__proto__":{}}', '__proto__', 1],
    ['"\\ud800"', 'half of a surrogate pair', 0],
    ['"\ud800"', 'half of a surrogate pair', 0],
    ['{"\\udc00":1}', 'half of a surrogate pair', 1],
    ['1e999', 'one that is too large', 0],
    ['1'.repeat(41), '41', 0],
    ['{"a":1}x', 'text that is not JSON', 7],
    ['{"a":1,}', 'text that is not JSON', 7],
    ['[1,]', 'text that is not JSON', 3],
    ['01', 'text that is not JSON', 1],
    ['"a\nb"', 'text that is not JSON', 2],
    ['"\\x"', 'text that is not JSON', 4],
    ['"a', 'text that is not JSON', 2],
    ['"a\\', 'text that is not JSON', 4],
    ['\u00a01', 'text that is not JSON', 0],
    ['', 'text that is not JSON', 0],
  ])('refuses %j', (text, found, offset) => {
    try {
      read(text);
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(MalformedError);
      expect(error).toMatchObject({ structure: 'document', found, offset });
    }
  });

  it('goes so deep and no deeper, without running out of stack', () => {
    const nested = (depth: number) => '['.repeat(depth) + ']'.repeat(depth);
    expect(() => read(nested(greatestJsonDepth))).not.toThrow();
    expect(() => read(nested(greatestJsonDepth + 1))).toThrow('deeper nesting');
    expect(() => read('{"a":'.repeat(1_000_000))).toThrow('deeper nesting');
    expect(() => read(`[${nested(greatestJsonDepth - 1)},${nested(greatestJsonDepth - 1)}]`)).not.toThrow();
  });
});

describe('canonical JSON', () => {
  it('is that of RFC 8785, section 3.2', () => {
    const numbers = [Number('333333333.33333329'), 1e30, 4.5, 2e-3, 0.000000000000000000000000001];
    const string = "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\u0022\u002f";
    expect(canonicalJson({ numbers, string, literals: [null, true, false] })).toBe(
      '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],' +
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}',
    );
  });

  it('sorts by UTF-16 units, at every level', () => {
    const members = { '€': 1, '\r': 2, '\ufb33': 3, 1: 4, '😀': 5, '\u0080': 6, ö: 7 };
    expect(canonicalJson([{ b: members, a: 0 }])).toBe(
      '[{"a":0,"b":{"\\r":2,"1":4,"\u0080":6,"ö":7,"€":1,"😀":5,"\ufb33":3}}]',
    );
  });

  it('does not depend on the order of members, and changes nothing when done again', () => {
    const property = fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (object) => {
      const other = Object.fromEntries(Object.entries(object).reverse());
      const text = canonicalJson(object);
      expect(canonicalJson(other)).toBe(text);
      expect(canonicalJson(JSON.parse(text))).toBe(text);
    });
    fc.assert(property);
  });

  it('has nothing for values that JSON cannot say the same way everywhere', () => {
    for (const value of [
      1n,
      Number.NaN,
      Number.POSITIVE_INFINITY,
      '\ud800',
      { '\udc00': 1 },
      undefined,
      () => 1,
    ])
      expect(() => canonicalJson([value])).toThrow(InvalidArgumentError);
    expect(canonicalJson({ a: undefined })).toBe('{}');
    expect(jsonText({ b: [18446744073709551615n], a: undefined })).toBe('{"b":[18446744073709551615]}');
  });
});

describe('text in UTF-8', () => {
  it('is what the bytes say, a byte order mark too, or is refused without them', () => {
    expect(utf8Text('document', new TextEncoder().encode('é'))).toBe('é');
    expect(() => read(utf8Text('document', Uint8Array.of(0xef, 0xbb, 0xbf, 0x7b, 0x7d)))).toThrow('not JSON');
    expect(() => utf8Text('document', Uint8Array.of(0x61, 0xff))).toThrow(MalformedError);
  });
});
