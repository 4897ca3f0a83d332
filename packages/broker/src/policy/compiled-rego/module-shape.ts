import { InvalidArgumentError } from '@vouchsafe/sev';

/** Bytes of a compiled policy. OPA's own part is a few hundred thousand. */
const largestModule = 4_194_304;

/** Whether bytes are a WebAssembly module, and not source. */
export function isWasm(bytes: Uint8Array): boolean {
  return [0x00, 0x61, 0x73, 0x6d].every((byte, i) => bytes[i] === byte);
}

/**
 * Pages of 64 KiB that a compiled policy wants at its start. Its memory must be the one that the broker lends it: one of
 * its own could be four gigabytes.
 * @throws InvalidArgumentError for bytes that are no module, or one of another shape than `opa build` gives
 */
export function memoryPagesOf(module: Uint8Array): number {
  const refuse = (found: string): never => {
    throw new InvalidArgumentError(
      'compiled policy',
      `expected a module of \`opa build -t wasm\`, found ${found}`,
      {
        hint: 'opa build -t wasm -e policy/allow FILE, and send the policy.wasm of the bundle',
      },
    );
  };
  if (!isWasm(module)) return refuse('bytes that are no WebAssembly');
  if (module.length > largestModule) refuse(`${module.length} bytes, the limit is ${largestModule}`);
  const reader = new WasmReader(module);
  if (reader.bytes(8)[4] !== 1) refuse('another version of WebAssembly');
  let pages: number | undefined;
  try {
    while (!reader.atEnd) {
      const section = reader.byte();
      const end = reader.number() + reader.at;
      if (section === sections.memory && reader.number() > 0) refuse('a memory of its own');
      if (section === sections.import) pages = importedPages(reader);
      reader.moveTo(end);
    }
  } catch (error) {
    if (error instanceof RangeError) refuse('a module that ends too early');
    throw error;
  }
  return pages ?? refuse('a module that imports no memory');
}

const sections = { import: 2, memory: 5 } as const;

/** WebAssembly core specification, 5.5.5: module, name, kind, and what belongs to the kind. */
function importedPages(reader: WasmReader): number | undefined {
  let pages: number | undefined;
  for (let left = reader.number(); left > 0; left--) {
    reader.bytes(reader.number());
    reader.bytes(reader.number());
    const kind = reader.byte();
    if (kind === 0x00) reader.number();
    else if (kind === 0x01) {
      reader.byte();
      readLimits(reader);
    } else if (kind === 0x02) pages = readLimits(reader);
    else reader.bytes(2);
  }
  return pages;
}

function readLimits(reader: WasmReader): number {
  const bounded = reader.byte() === 1;
  const least = reader.number();
  if (bounded) reader.number();
  return least;
}

/** Reads what the sections are made of: bytes and unsigned LEB128 numbers. */
class WasmReader {
  readonly #module: Uint8Array;
  at = 0;

  constructor(module: Uint8Array) {
    this.#module = module;
  }

  get atEnd(): boolean {
    return this.at === this.#module.length;
  }

  byte(): number {
    return this.bytes(1)[0] ?? 0;
  }

  bytes(count: number): Uint8Array {
    const start = this.at;
    this.moveTo(start + count);
    return this.#module.subarray(start, this.at);
  }

  number(): number {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.byte();
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
    throw new RangeError('a number that does not end');
  }

  moveTo(offset: number): void {
    if (offset > this.#module.length) throw new RangeError('past the end');
    this.at = offset;
  }
}
