import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { concat } from '../bytes.js';
import { InvalidArgumentError, MalformedError } from '../errors.js';
import { bits, flag } from './bits.js';
import {
  bigInteger,
  bitsField,
  bytesField,
  guidField,
  named,
  nested,
  reserved,
  u8,
  u16,
  u32,
  u64,
} from './fields.js';
import { structure } from './structure.js';

const colours = { RED: 1, GREEN: 2, BLUE: 0x1000 } as const;
const switches = bits(
  { name: 'switches', width: 16, source: 'test', reserved: 'report' },
  { on: flag(0, 'ON', 'whether it is on') },
);
const inner = structure(
  { name: 'inner', size: 8, source: 'test' },
  {
    magic: u16(0, 'magic', { equals: 0x1234 }),
    switches: bitsField(2, switches, 'switches'),
    pad: reserved(4, 4, 'report'),
  },
);
const guid = '96b582de-1fb2-45f7-baea-a366c55a082d';
const outer = structure(
  { name: 'outer', size: 0x50, source: 'test' },
  {
    version: u32(0x00, 'version', { equals: 1 }),
    small: u8(0x04, 'a byte', { unit: 'ms' }),
    gap: reserved(0x05, 1),
    short: u16(0x06, 'two bytes', { default: 7 }),
    wide: u64(0x08, 'eight bytes'),
    colour: named(0x10, 4, colours, 'a colour'),
    bytes: bytesField(0x14, 4, 'four bytes'),
    number: bigInteger(0x18, 16, 12, 'a big number'),
    id: guidField(0x28, 'an id', { equals: guid }),
    inside: nested(0x38, inner, 'a structure'),
    tail: bytesField(0x40, 16, 'the rest', { default: new Uint8Array(16) }),
  },
);

const values = {
  small: 200,
  wide: 0x0102030405060708n,
  colour: 'BLUE',
  bytes: Uint8Array.of(1, 2, 3, 4),
  number: Uint8Array.from({ length: 12 }, (_, i) => i),
  inside: { magic: 0x1234, switches: { on: true } },
} as const;

function refusal(work: () => unknown): MalformedError {
  try {
    work();
  } catch (error) {
    if (error instanceof MalformedError) return error;
    throw error;
  }
  throw new Error('it was not refused');
}

function patched(offset: number, ...bytes: number[]): Uint8Array {
  const copy = outer.build(values);
  copy.set(bytes, offset);
  return copy;
}

describe('a structure', () => {
  test('is written where its table says, little-endian, with fixed and default values filled in', () => {
    const bytes = outer.build(values);
    expect([...bytes.subarray(0, 0x18)]).toEqual([
      1, 0, 0, 0, 200, 0, 7, 0, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0x10, 0, 0, 1, 2, 3, 4,
    ]);
    expect([...bytes.subarray(0x18, 0x28)]).toEqual([11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 0, 0, 0]);
    expect([...bytes.subarray(0x38, 0x40)]).toEqual([0x34, 0x12, 1, 0, 0, 0, 0, 0]);
  });

  test('is read back, with its bytes beside it', () => {
    const bytes = outer.build(values);
    const parsed = outer.parse(bytes);
    expect(parsed).toMatchObject({ ...values, version: 1, short: 7, id: guid });
    expect(parsed.raw).toEqual(bytes);
    expect(parsed.notes).toEqual([]);
    expect(Object.keys(parsed)).not.toContain('gap');
  });

  test('keeps a copy: neither side can change the other', () => {
    const bytes = outer.build(values);
    const parsed = outer.parse(Buffer.from(bytes));
    const whole = Buffer.from(bytes);
    const fromBuffer = outer.parse(whole);
    whole.fill(0xff);
    expect(parsed.raw).toEqual(bytes);
    expect(fromBuffer.raw).toEqual(bytes);
    expect(fromBuffer.bytes).toEqual(values.bytes);
    expect(fromBuffer.raw.constructor).toBe(Uint8Array);
  });

  test('any values survive the journey', () => {
    const property = fc.property(
      fc.record({
        small: fc.nat(255),
        short: fc.nat(65535),
        wide: fc.bigInt(0n, (1n << 64n) - 1n),
        colour: fc.constantFrom('RED', 'GREEN', 'BLUE'),
        bytes: fc.uint8Array({ minLength: 4, maxLength: 4 }),
        number: fc.uint8Array({ minLength: 12, maxLength: 12 }),
        tail: fc.uint8Array({ minLength: 16, maxLength: 16 }),
        on: fc.boolean(),
      }),
      ({ on, ...given }) => {
        const parsed = outer.parse(outer.build({ ...given, inside: { magic: 0x1234, switches: { on } } }));
        expect(parsed).toMatchObject({ ...given, inside: { switches: { on } } });
        expect(outer.build(parsed)).toEqual(parsed.raw);
      },
    );
    fc.assert(property);
  });

  test('any bytes are refused with a typed error, or read and written back', () => {
    const property = fc.property(fc.uint8Array({ minLength: 0, maxLength: 0x60 }), (bytes) => {
      try {
        expect(outer.build(outer.parse(bytes))).toEqual(bytes);
      } catch (error) {
        expect(error).toBeInstanceOf(MalformedError);
      }
    });
    fc.assert(property);
  });
});

describe('refusals name the field and its offset in the whole input', () => {
  test.each<[string, number, number[], string, number]>([
    ['a fixed value', 0x00, [2], 'version', 0x00],
    ['reserved bytes', 0x05, [9], 'gap', 0x05],
    ['a number without a name', 0x10, [3, 0], 'colour', 0x10],
    ['padding of a big number', 0x26, [1], 'number', 0x26],
    ['a fixed GUID', 0x28, [0], 'id', 0x28],
    ['a field of a structure inside', 0x38, [0], 'magic', 0x38],
  ])('%s', (_what, offset, bytes, field, at) => {
    const error = refusal(() => outer.parse(patched(offset, ...bytes), { offset: 0x1000, path: 'file' }));
    expect(error).toMatchObject({ field, offset: 0x1000 + at, code: 'malformed' });
    expect(error.structure.startsWith('file')).toBe(true);
    expect(error.message.length).toBeLessThan(200);
  });

  test('long fields of zeros do not flood the message', () => {
    const long = structure({ name: 'long', size: 4096, source: 'test' }, { pad: reserved(0, 4096) });
    const error = refusal(() => long.parse(new Uint8Array(4096).fill(0xab)));
    expect(error.message).toBe('long: pad at offset 0x0: expected zero in reserved bytes, found 0xab');
  });

  test.each([0, 0x4f, 0x51])('%i bytes', (length) => {
    expect(refusal(() => outer.parse(new Uint8Array(length)))).toMatchObject({
      field: 'length',
      found: `${length} bytes`,
    });
  });

  test('a structure that the input ends in', () => {
    const bytes = concat(Uint8Array.of(0, 0), outer.build(values));
    expect(outer.parseAt(bytes, 2).small).toBe(200);
    const error = refusal(() => outer.parseAt(bytes, 3, { offset: 0x100 }));
    expect(error).toMatchObject({ field: 'length', offset: 0x103, found: '79 bytes' });
  });
});

test('what newer chips set is noted, also inside an inner structure', () => {
  const parsed = outer.parse(patched(0x3a, 0x03, 0x00, 0xee));
  expect(parsed.notes).toMatchObject([
    { structure: 'outer, inside, switches', field: 'reserved bits', offset: 0x3a, found: '0x2' },
    { structure: 'outer, inside', field: 'pad', offset: 0x3c, found: 'ee000000' },
  ]);
  expect(parsed.inside.switches.on).toBe(true);
});

describe('values that cannot be written are the caller’s mistake', () => {
  test.each<[string, object]>([
    ['too big', { small: 256 }],
    ['negative', { small: -1 }],
    ['broken', { short: 1.5 }],
    ['not a number', { short: Number.NaN }],
    ['wider than 64 bits', { wide: 1n << 64n }],
    ['negative and wide', { wide: -1n }],
    ['a name that is none', { colour: 'toString' }],
    ['bytes of another length', { bytes: new Uint8Array(5) }],
    ['a big number of another length', { number: new Uint8Array(16) }],
    ['another fixed value', { version: 2 }],
    ['another fixed GUID', { id: '00000000-0000-0000-0000-000000000000' }],
    ['no value', { wide: undefined }],
    ['a wrong inner value', { inside: { magic: 1, switches: { on: true } } }],
  ])('%s', (_what, change) => {
    expect(() => outer.build({ ...values, ...change })).toThrow(InvalidArgumentError);
  });
});

test('a name that is none is answered with those that are', () => {
  const build = () => outer.build({ ...values, colour: 'toString' as 'RED' });
  expect(build).toThrow('a colour: "toString" is not one of RED, GREEN, BLUE');
});

describe('a declaration', () => {
  const options = { name: 'broken', size: 8, source: 'test' };

  test('with a gap, an overlap or a wrong size does not load', () => {
    expect(() => structure(options, { a: u32(0, 'a') })).toThrow('rows end at 0x4, not at 0x8');
    expect(() => structure(options, { a: u8(0, 'a'), b: u32(4, 'b') })).toThrow('leaves a gap from 0x1');
    expect(() => structure(options, { a: u32(0, 'a'), b: u32(2, 'b') })).toThrow(
      'overlaps the row before it',
    );
    expect(() => structure(options, { a: u64(0, 'a'), b: u8(8, 'b') })).toThrow('rows end at 0x9');
  });

  test('knows where its fields are', () => {
    expect(outer.offsetOf('colour')).toBe(0x10);
    expect(outer.fields['gap']).toMatchObject({ presence: 'reserved', meaning: 'reserved', accepts: 'zero' });
    expect(outer.fields['colour']?.accepts).toBe('0x1 RED, 0x2 GREEN, 0x1000 BLUE');
  });
});

describe('showing', () => {
  test('every visible field has a row', () => {
    const rows = outer.describe(outer.parse(outer.build(values)));
    expect(rows.map(({ name }) => name)).toEqual([
      'version',
      'small',
      'short',
      'wide',
      'colour',
      'bytes',
      'number',
      'id',
      'inside',
      'tail',
    ]);
    expect(rows[1]).toEqual({
      name: 'small',
      offset: 4,
      size: 1,
      value: '200 (0xc8)',
      meaning: 'a byte',
      unit: 'ms',
    });
    expect(rows[4]?.value).toBe('BLUE (0x1000)');
  });

  test('JSON holds plain values, big numbers as text', () => {
    const json = outer.toJson(outer.parse(outer.build(values)));
    expect(JSON.parse(JSON.stringify(json))).toMatchObject({
      small: 200,
      wide: '0x102030405060708',
      colour: 'BLUE',
      bytes: '01020304',
      id: guid,
      inside: { switches: { on: true } },
    });
  });
});
