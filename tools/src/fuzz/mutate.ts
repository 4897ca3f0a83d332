/** A small generator with a seed (mulberry32): the same inputs in every run, so that a failure can be had again. */
export class SeededRandom {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** A whole number from 0 to `limit` - 1. */
  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * limit);
  }

  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)]!;
  }

  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.below(256));
  }
}

type Mutation = (bytes: Uint8Array, random: SeededRandom, seeds: readonly Uint8Array[]) => Uint8Array;

/** Values at which lengths, counts and offsets go wrong. */
const edgeValues = [
  0n,
  1n,
  2n,
  0x7fn,
  0x80n,
  0xffn,
  0x7fffn,
  0x8000n,
  0xffffn,
  0x7fff_ffffn,
  0x8000_0000n,
  0xffff_fffen,
];
const widestValues = [0xffff_ffffn, 0x7fff_ffff_ffff_ffffn, 0x8000_0000_0000_0000n, 0xffff_ffff_ffff_ffffn];

const somewhere = (bytes: Uint8Array, random: SeededRandom) => random.below(bytes.length + 1);
const join = (...parts: readonly Uint8Array[]) => new Uint8Array(Buffer.concat(parts));

const mutations: readonly Mutation[] = [
  function flipBit(bytes, random) {
    if (bytes.length > 0) bytes[random.below(bytes.length)]! ^= 1 << random.below(8);
    return bytes;
  },
  function setByte(bytes, random) {
    if (bytes.length > 0) bytes[random.below(bytes.length)] = random.below(256);
    return bytes;
  },
  function setInteger(bytes, random) {
    const size = random.pick([1, 2, 4, 8]);
    if (bytes.length < size) return bytes;
    const aligned = random.below(2) === 0;
    const at = random.below(bytes.length - size + 1);
    const value = random.pick([
      ...edgeValues,
      ...widestValues,
      BigInt(bytes.length),
      BigInt(random.below(bytes.length + 1)),
    ]);
    const start = aligned ? at - (at % size) : at;
    for (let i = 0; i < size; i++) bytes[start + i] = Number((value >> BigInt(8 * i)) & 0xffn);
    return bytes;
  },
  function fillRange(bytes, random) {
    const start = somewhere(bytes, random);
    return bytes.fill(random.pick([0, 0xff, 0x20, random.below(256)]), start, start + random.below(64));
  },
  function cutEnd(bytes, random) {
    return bytes.slice(0, somewhere(bytes, random));
  },
  function cutMiddle(bytes, random) {
    const start = somewhere(bytes, random);
    return join(bytes.subarray(0, start), bytes.subarray(start + 1 + random.below(32)));
  },
  function insert(bytes, random) {
    const at = somewhere(bytes, random);
    return join(bytes.subarray(0, at), random.bytes(1 + random.below(32)), bytes.subarray(at));
  },
  function append(bytes, random) {
    return join(
      bytes,
      random.below(2) === 0 ? new Uint8Array(1 + random.below(16)) : random.bytes(1 + random.below(16)),
    );
  },
  function repeatRange(bytes, random) {
    const start = somewhere(bytes, random);
    const end = Math.min(bytes.length, start + random.below(256));
    return join(bytes.subarray(0, end), bytes.subarray(start, end), bytes.subarray(end));
  },
  function exchangeRanges(bytes, random) {
    const size = Math.min(1 + random.below(64), bytes.length);
    const [a, b] = [random.below(bytes.length - size + 1), random.below(bytes.length - size + 1)];
    const moved = bytes.slice(a, a + size);
    bytes.copyWithin(a, b, b + size);
    bytes.set(moved, b);
    return bytes;
  },
  function splice(bytes, random, seeds) {
    const other = random.pick(seeds);
    return join(bytes.subarray(0, somewhere(bytes, random)), other.subarray(somewhere(other, random)));
  },
];

/** A hostile relative of one of the seeds: one to four mutations away from it. */
export function mutate(seeds: readonly Uint8Array[], random: SeededRandom): Uint8Array {
  let bytes: Uint8Array = random.pick(seeds).slice();
  for (let left = 1 + random.below(4); left > 0; left--) bytes = random.pick(mutations)(bytes, random, seeds);
  return bytes;
}
