import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { concat, fromHex, toHex } from '../bytes.js';
import { MalformedError } from '../errors.js';
import { DerReader, maximumDerDepth, readDer } from './der.js';
import { contextTag, tags } from './der-tags.js';
import {
  derBitString,
  derBoolean,
  derElement,
  derInteger,
  derNull,
  derOctetString,
  derOid,
  derSequence,
  derText,
} from './der-writer.js';

const reader = (hex: string) => new DerReader(fromHex(hex), { structure: 'thing' });

/** Reads a whole value given in hexadecimal. */
function whole<T>(hex: string, read: (reader: DerReader) => T): T {
  return readDer(fromHex(hex), { structure: 'thing', maximumSize: 300000 }, read);
}

function complaint(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    if (error instanceof MalformedError) return error.message;
    throw error;
  }
  return 'none';
}

describe('an element', () => {
  test.each([
    ['the end of the value', '', 'thing: x at offset 0x0: expected an INTEGER, found the end of the value'],
    ['another tag', '0500', 'thing: x at offset 0x0: expected an INTEGER, found NULL'],
    [
      'an unnamed tag',
      '1900',
      'thing: x at offset 0x0: expected an INTEGER, found the identifier octet 0x19',
    ],
    ['a context tag', '8000', 'thing: x at offset 0x0: expected an INTEGER, found [0]'],
    ['no length', '02', 'thing: x at offset 0x1: expected a length, found the end of the value'],
    [
      'an indefinite length',
      '0280010000',
      'thing: x at offset 0x1: expected a definite length, found an indefinite one',
    ],
    [
      'a length of four octets',
      '028400000001ff',
      'thing: x at offset 0x1: expected a length of at most 3 octets, found 4',
    ],
    [
      'a reserved length',
      '02ff01',
      'thing: x at offset 0x1: expected a length of at most 3 octets, found 127',
    ],
    [
      'half a length',
      '028201',
      'thing: x at offset 0x1: expected a whole length, found the end of the value',
    ],
    [
      'a long form for a short length',
      '02810105',
      'thing: x at offset 0x1: expected a length in its shortest form, found 8101',
    ],
    [
      'a long form for 127',
      `02817f${'00'.repeat(127)}`,
      'thing: x at offset 0x1: expected a length in its shortest form, found 817f',
    ],
    [
      'a length with a leading zero',
      `02820080${'01'.repeat(128)}`,
      'thing: x at offset 0x1: expected a length in its shortest form, found 820080',
    ],
    [
      'a length that lies',
      '020201',
      'thing: x at offset 0x1: expected a length within the value, found a length of 2 bytes where 1 are left',
    ],
    [
      'a long length that lies',
      '0283ffffff01',
      'thing: x at offset 0x1: expected a length within the value, found a length of 16777215 bytes where 1 are left',
    ],
  ])('refuses %s', (_, hex, message) => {
    expect(complaint(() => reader(hex).element('x', tags.integer))).toBe(message);
  });

  test('refuses tag numbers of 31 and above, whatever is asked for', () => {
    const message = 'thing: x at offset 0x0: expected a tag number below 31, found the identifier octet 0xbf';
    expect(complaint(() => reader('bf1f00').element('x'))).toBe(message);
    expect(complaint(() => reader('bf1f00').element('x', 0xbf))).toBe(message);
  });

  test('says which of several tags it wanted', () => {
    const times = [tags.utcTime, tags.generalizedTime];
    expect(complaint(() => reader('0500').element('x', times))).toContain(
      'expected a UTCTime or a GeneralizedTime, found NULL',
    );
    expect(complaint(() => reader('').element('x'))).toContain('expected an element, found');
  });

  test('gives views with their place in the whole input', () => {
    const bytes = fromHex('30050201070500');
    const context = { structure: 'thing', offset: 100, path: 'outer' };
    const seen = new DerReader(bytes, context).sequence('list', (inner) => [
      inner.element('a'),
      inner.element('b'),
    ]);
    expect(seen.map(({ tag, content, raw, offset }) => [tag, toHex(content), toHex(raw), offset])).toEqual([
      [2, '07', '020107', 102],
      [5, '', '0500', 105],
    ]);
    expect(seen[0]!.content.buffer).toBe(bytes.buffer);
    const failure = () => new DerReader(bytes, context).sequence('list', (inner) => inner.boolean('a'));
    expect(complaint(failure)).toContain('thing: outer.list.a at offset 0x66:');
  });
});

describe('a value', () => {
  test('has nothing after it', () => {
    expect(whole('020107', (each) => each.integer('x', 1))).toBe(7n);
    expect(complaint(() => whole('02010700', (each) => each.integer('x', 1)))).toBe(
      'thing: end at offset 0x3: expected no trailing bytes, found 1 more',
    );
    expect(
      complaint(() => whole('30050201070500', (each) => each.sequence('s', (s) => s.integer('x', 1)))),
    ).toBe('thing: s.end at offset 0x5: expected no trailing bytes, found 2 more');
  });

  test('has a limit', () => {
    const read = (size: number) => () =>
      readDer(new Uint8Array(size), { structure: 'thing', maximumSize: 8 }, (each) => {
        while (each.follows()) each.element('x');
      });
    expect(complaint(read(8))).toBe('none');
    expect(complaint(read(10))).toBe('thing: length at offset 0x0: expected at most 8 bytes, found 10');
  });

  test('nests to a limit', () => {
    const nested = (levels: number) =>
      Array.from({ length: levels }).reduce<Uint8Array>((inner) => derSequence(inner), new Uint8Array(0));
    const enter = (each: DerReader): void => {
      if (each.follows()) each.sequence('s', enter);
    };
    const read = (levels: number) => () => whole(toHex(nested(levels)), enter);
    expect(complaint(read(maximumDerDepth))).toBe('none');
    expect(complaint(read(maximumDerDepth + 1))).toContain('expected at most 16 levels, found one more');
    const boxed = Array.from({ length: 17 }).reduce<Uint8Array>(
      (inner) => derOctetString(inner),
      new Uint8Array(0),
    );
    const open = (each: DerReader): void => {
      if (each.follows()) each.encapsulated('o', 'octetString', open);
    };
    expect(complaint(() => whole(toHex(boxed), open))).toContain('expected at most 16 levels');
  });

  test('lists to a limit', () => {
    const read = (limit: number) => () =>
      reader('050005000500').each('n', limit, (each, field) => each.null(field));
    expect(complaint(read(3))).toBe('none');
    expect(complaint(read(2))).toBe('thing: n at offset 0x4: expected at most 2 elements, found one more');
    expect(complaint(() => reader('0500020100').each('n', 3, (each, field) => each.null(field)))).toContain(
      'n[1]',
    );
  });

  test('can be looked at before it is read', () => {
    expect(reader('').follows()).toBe(false);
    expect(reader('0500').follows()).toBe(true);
    expect(reader('0500').follows(tags.null)).toBe(true);
    expect(reader('0500').follows(tags.integer)).toBe(false);
  });
});

describe('an INTEGER', () => {
  test.each([
    ['020100', 0n],
    ['02017f', 127n],
    ['02020080', 128n],
    ['020200ff', 255n],
    ['02020100', 256n],
  ])('%s reads', (hex, value) => {
    expect(whole(hex, (each) => each.integer('x', 2))).toBe(value);
  });

  test.each([
    ['0200', 'expected an INTEGER with content, found none'],
    ['0201ff', 'expected an INTEGER of 0 or more, found a negative one'],
    ['02028000', 'expected an INTEGER of 0 or more, found a negative one'],
    ['02020000', 'expected an INTEGER in its shortest form, found a leading zero octet'],
    ['0202007f', 'expected an INTEGER in its shortest form, found a leading zero octet'],
    ['0203010000', 'expected an INTEGER of at most 2 octets, found 3'],
  ])('%s is refused', (hex, message) => {
    expect(complaint(() => whole(hex, (each) => each.integer('x', 2)))).toBe(
      `thing: x at offset 0x0: ${message}`,
    );
  });

  test('any number comes back', () => {
    const property = fc.property(fc.bigInt({ min: 0n, max: 2n ** 160n }), (value) => {
      expect(whole(toHex(derInteger(value)), (each) => each.integer('x', 21))).toBe(value);
    });
    fc.assert(property);
    expect(() => derInteger(-1)).toThrow('negative');
  });

  test('any big-endian octets come back without leading zeros', () => {
    const property = fc.property(fc.uint8Array({ maxLength: 40 }), (octets) => {
      const back = whole(toHex(derInteger(octets)), (each) => each.integerBytes('x', 41));
      expect(toHex(back)).toBe(toHex(octets).replace(/^(?:00)*/, '') || '00');
    });
    fc.assert(property);
  });
});

describe('the other primitives', () => {
  test('a BOOLEAN is FF or 00', () => {
    expect(whole('0101ff', (each) => each.boolean('x'))).toBe(true);
    expect(whole('010100', (each) => each.boolean('x'))).toBe(false);
    for (const hex of ['010101', '0100', '0102ffff'])
      expect(complaint(() => whole(hex, (each) => each.boolean('x')))).toContain(
        'expected a BOOLEAN of FF or 00',
      );
    expect(toHex(derBoolean(true)) + toHex(derBoolean(false))).toBe('0101ff010100');
  });

  test('NULL is empty', () => {
    expect(complaint(() => whole(toHex(derNull()), (each) => each.null('x')))).toBe('none');
    expect(complaint(() => whole('050100', (each) => each.null('x')))).toContain(
      'expected an empty NULL, found 00',
    );
  });

  test('a BIT STRING says how many bits it leaves unused, and they are zero', () => {
    const read = (hex: string) => () => whole(hex, (each) => each.bitString('x'));
    expect(read('03020106')()).toEqual({ unused: 1, bytes: Uint8Array.of(6) });
    expect(read('030100')()).toEqual({ unused: 0, bytes: new Uint8Array(0) });
    expect(complaint(read('0300'))).toContain('expected a count of unused bits that fits, found none');
    expect(complaint(read('030101'))).toContain('expected a count of unused bits that fits, found 1');
    expect(complaint(read('03020800'))).toContain('expected a count of unused bits that fits, found 8');
    expect(complaint(read('03020207'))).toContain('expected unused bits of zero, found 0x07 with 2 unused');
    expect(complaint(() => whole('03020106', (each) => each.octetsOfBitString('x')))).toContain(
      'expected no unused bits, found 1',
    );
    expect(toHex(derBitString(Uint8Array.of(6), 1))).toBe('03020106');
  });

  test('DER inside a string is read to its end', () => {
    const boxed = toHex(derOctetString(concat(derInteger(5), derNull())));
    expect(
      complaint(() =>
        whole(boxed, (each) => each.encapsulated('o', 'octetString', (o) => o.integer('i', 1))),
      ),
    ).toBe('thing: o.end at offset 0x5: expected no trailing bytes, found 2 more');
    const bits = toHex(derBitString(derInteger(5)));
    expect(whole(bits, (each) => each.encapsulated('o', 'bitString', (o) => o.integer('i', 1)))).toBe(5n);
    expect(
      complaint(() => whole(bits, (each) => each.encapsulated('o', 'bitString', (o) => o.null('i')))),
    ).toContain('thing: o.i at offset 0x3');
  });
});

describe('an OBJECT IDENTIFIER', () => {
  test.each([
    ['0603550403', '2.5.4.3'],
    ['060100', '0.0'],
    ['060127', '0.39'],
    ['060128', '1.0'],
    ['060150', '2.0'],
    ['06028837', '2.999'],
    ['06092a864886f70d01010a', '1.2.840.113549.1.1.10'],
    ['0606672d8fffff7f', '2.23.45.33554431'],
  ])('%s is %s', (hex, oid) => {
    expect(whole(hex, (each) => each.oid('x'))).toBe(oid);
    expect(toHex(derOid(oid))).toBe(hex);
  });

  test.each(['0600', '06028001', '0603558003', '060186', '0607559fffffffff7f', `0621${'55'.repeat(33)}`])(
    '%s is none',
    (hex) => {
      expect(complaint(() => whole(hex, (each) => each.oid('x')))).toContain('expected an object identifier');
    },
  );

  test.each([
    '',
    '1',
    '3.1',
    '1.40',
    '1.2.-3',
    '1.2.x',
    '1..2',
    '01.2',
    '2.5.4294967297',
    `1.2${'.5'.repeat(32)}`,
  ])('%s is not written', (oid) => {
    expect(() => derOid(oid)).toThrow('object identifier');
  });

  test('any comes back', () => {
    const arc = fc.nat({ max: 2 ** 31 - 1 });
    const oids = fc.oneof(
      fc.tuple(fc.nat({ max: 1 }), fc.nat({ max: 39 }), fc.array(arc, { maxLength: 4 })),
      fc.tuple(fc.constant(2), fc.nat({ max: 2000 }), fc.array(arc, { maxLength: 4 })),
    );
    const property = fc.property(oids, ([root, second, rest]) => {
      const oid = [root, second, ...rest].join('.');
      expect(whole(toHex(derOid(oid)), (each) => each.oid('x'))).toBe(oid);
    });
    fc.assert(property);
  });
});

/** A DER value as a test sees it: a primitive's octets, or what is inside. */
type Tree =
  | { readonly tag: number; readonly content: Uint8Array }
  | { readonly tag: number; readonly inner: Tree[] };

describe('any DER', () => {
  const { tree } = fc.letrec<{ tree: Tree }>((tie) => ({
    tree: fc.oneof(
      { maxDepth: 5 },
      fc.record({
        tag: fc.constantFrom<number>(tags.octetString, contextTag(1, 'primitive')),
        content: fc.uint8Array({ maxLength: 300 }).map((bytes) => new Uint8Array(bytes)),
      }),
      fc.record({
        tag: fc.constantFrom<number>(tags.sequence, contextTag(0, 'constructed')),
        inner: fc.array(tie('tree'), { maxLength: 4 }),
      }),
    ),
  }));
  const write = (each: Tree): Uint8Array =>
    'inner' in each ? derElement(each.tag, ...each.inner.map(write)) : derElement(each.tag, each.content);
  const read = (each: DerReader): Tree => {
    if (each.follows(tags.sequence) || each.follows(contextTag(0, 'constructed'))) {
      const tag = each.follows(tags.sequence) ? tags.sequence : contextTag(0, 'constructed');
      return { tag, inner: each.nested('n', tag, (inner) => inner.each('e', 9, read)) };
    }
    const { tag, content } = each.element('e');
    return { tag, content: content.slice() };
  };

  test('comes back', () => {
    const property = fc.property(tree, (value) => {
      expect(whole(toHex(write(value)), read)).toEqual(value);
    });
    fc.assert(property);
  });

  test('has one encoding: what can be read is written again as it was', () => {
    const rewritten = fc.property(tree, fc.nat(), fc.integer({ min: 1, max: 255 }), (value, at, mask) => {
      const bytes = write(value);
      bytes[at % bytes.length]! ^= mask;
      let back: Tree;
      try {
        back = whole(toHex(bytes), read);
      } catch (error) {
        expect(error).toBeInstanceOf(MalformedError);
        return;
      }
      expect(toHex(write(back))).toBe(toHex(bytes));
    });
    fc.assert(rewritten, { numRuns: 1000 });
  });

  test('text is written in UTF-8', () => {
    expect(toHex(derText(tags.utf8String, 'é'))).toBe('0c02c3a9');
  });
});
