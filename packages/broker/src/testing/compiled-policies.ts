/** How a policy made by hand answers; the numbers are WebAssembly's. Parameters 3 and 4 are address and length of the input. */
export type HandMadeAnswer =
  | 'yes'
  | 'no'
  | 'undefined'
  | 'yes-to-exclamation-marks'
  | 'loops'
  | 'traps'
  | 'aborts'
  | 'prints'
  | 'grows'
  | 'floods'
  | 'remembers'
  | 'says-nonsense';

export interface HandMadePolicy {
  readonly answer: HandMadeAnswer;
  readonly entrypoints?: string;
  /** Loops before it can be asked anything. */
  readonly loopsAtLoad?: boolean;
  readonly ownMemory?: boolean;
  readonly withoutMemory?: boolean;
  readonly pages?: number;
}

const places = {
  builtins: 16,
  entrypoints: 32,
  yes: 128,
  no: 160,
  none: 192,
  nonsense: 200,
  reason: 240,
} as const;
const inputPlace = 8192;
const rememberPlace = 4000;
const floodPlace = 0x10000;
const floodEnd = floodPlace + 199 * 0x10000;

/** A module with the exports of ABI 1.2 that `opa build -t wasm` makes, and next to nothing behind them. */
export function handMadePolicy(policy: HandMadePolicy): Uint8Array {
  const { answer, entrypoints = '{"policy/allow":0}', loopsAtLoad = false, pages = 1 } = policy;
  const functions: readonly (readonly [name: string, type: number, body: readonly number[]])[] = [
    ['builtins', 0, loopsAtLoad ? forever : constant(places.builtins)],
    ['entrypoints', 0, constant(places.entrypoints)],
    ['opa_json_dump', 1, [0x20, 0]],
    ['opa_json_parse', 2, [0x20, 0]],
    ['opa_malloc', 1, constant(inputPlace)],
    ['opa_heap_ptr_get', 0, constant(inputPlace)],
    ['opa_heap_ptr_set', 3, []],
    ['opa_eval', 4, bodies[answer]],
  ];
  const imports = [
    ...(policy.withoutMemory ? [] : [[...text('env'), ...text('memory'), 0x02, 0x00, ...leb(pages)]]),
    [...text('env'), ...text('opa_abort'), 0x00, 3],
    [...text('env'), ...text('opa_println'), 0x00, 3],
  ];
  const exported = functions.map(([name], i) => [...text(name), 0x00, ...leb(i + importedFunctions)]);
  const globals = ['opa_wasm_abi_version', 'opa_wasm_abi_minor_version'].map((name, i) => [
    ...text(name),
    0x03,
    i,
  ]);
  const data: readonly (readonly [number, string])[] = [
    [places.builtins, '{}'],
    [places.entrypoints, entrypoints],
    [places.yes, '[{"result":true}]'],
    [places.no, '[{"result":false}]'],
    [places.none, '[]'],
    [places.nonsense, '[{"result":"yes"}]'],
    [places.reason, 'no luck today'],
  ];
  return new Uint8Array([
    ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
    ...section(1, types),
    ...section(2, imports),
    ...section(
      3,
      functions.map(([, type]) => [type]),
    ),
    ...(policy.ownMemory ? section(5, [[0x00, 1]]) : []),
    ...section(
      6,
      [1, 2].map((value) => [0x7f, 0x00, 0x41, value, 0x0b]),
    ),
    ...section(7, [...exported, ...globals]),
    ...section(
      10,
      functions.map(([, , body]) => sized([1, 1, 0x7f, ...body, 0x0b])),
    ),
    ...(policy.withoutMemory
      ? []
      : section(
          11,
          data.map(([at, value]) => [0x00, ...constant(at), 0x0b, ...sized(utf8(`${value}\0`))]),
        )),
  ]);
}

const importedFunctions = 2;
const i32 = 0x7f;
const functionType = (parameters: number, results: number) => [
  0x60,
  ...leb(parameters),
  ...Array<number>(parameters).fill(i32),
  ...leb(results),
  ...Array<number>(results).fill(i32),
];
const types = [
  functionType(0, 1),
  functionType(1, 1),
  functionType(2, 1),
  functionType(1, 0),
  functionType(7, 1),
];

function constant(value: number): number[] {
  return [0x41, ...signedLeb(value)];
}

/** loop; br 0; end; unreachable */
const forever = [0x03, 0x40, 0x0c, 0, 0x0b, 0x00];

/** The first local after the seven parameters. */
const local = 7;

const bodies: Readonly<Record<HandMadeAnswer, readonly number[]>> = {
  yes: constant(places.yes),
  no: constant(places.no),
  undefined: constant(places.none),
  'says-nonsense': constant(places.nonsense),
  loops: forever,
  traps: [0x00],
  aborts: [...constant(places.reason), 0x10, 0, 0x00],
  prints: [...constant(inputPlace), 0x10, 1, ...constant(places.yes)],
  'yes-to-exclamation-marks': [
    ...[0x03, 0x40],
    // The end of the input: no.
    ...[0x20, local, 0x20, 4, 0x4e, 0x04, 0x40, ...constant(places.no), 0x0f, 0x0b],
    // An exclamation mark: yes.
    ...[0x20, 3, 0x20, local, 0x6a, 0x2d, 0, 0, ...constant(0x21), 0x46, 0x04, 0x40],
    ...[...constant(places.yes), 0x0f, 0x0b],
    ...[0x20, local, 0x41, 1, 0x6a, 0x21, local, 0x0c, 0],
    ...[0x0b, 0x00],
  ],
  // Takes pages until there are no more, and says yes when it got beyond 256.
  grows: [
    ...[0x03, 0x40, 0x41, 1, 0x40, 0, 0x41, 0x7f, 0x47, 0x0d, 0, 0x0b],
    ...[...constant(places.yes), ...constant(places.no), 0x3f, 0, ...constant(256), 0x4a, 0x1b],
  ],
  // Answers with thirteen megabytes of empty lists in a list.
  floods: [
    ...[...constant(200), 0x40, 0, 0x1a],
    ...[...constant(floodPlace), ...constant(0x5b), 0x3a, 0, 0],
    ...[...constant(floodPlace + 1), 0x21, local, 0x03, 0x40],
    ...[0x20, local, ...constant(0x5d5b), 0x3b, 0, 0, 0x20, local, ...constant(0x2c), 0x3a, 0, 2],
    ...[0x20, local, 0x41, 3, 0x6a, 0x22, local, ...constant(floodEnd), 0x48, 0x0d, 0, 0x0b],
    ...[0x20, local, ...constant(0x5d5b), 0x3b, 0, 0, 0x20, local, ...constant(0x5d), 0x3a, 0, 2],
    ...constant(floodPlace),
  ],
  // Says yes from the second question on.
  remembers: [
    ...[...constant(places.yes), ...constant(places.no), ...constant(rememberPlace), 0x2d, 0, 0],
    ...[...constant(rememberPlace), 0x41, 1, 0x3a, 0, 0, 0x1b],
  ],
};

function section(id: number, items: readonly (readonly number[])[]): number[] {
  return [id, ...sized([...leb(items.length), ...items.flat()])];
}

const sized = (bytes: readonly number[]) => [...leb(bytes.length), ...bytes];
const utf8 = (value: string) => [...new TextEncoder().encode(value)];
const text = (value: string) => sized(utf8(value));

function leb(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...leb(value >>> 7)];
}

function signedLeb(value: number): number[] {
  return value < 0x40 ? [value] : [(value & 0x7f) | 0x80, ...signedLeb(value >> 7)];
}
