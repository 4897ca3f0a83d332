import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** A secret in every form in which it could have been written down. */
export interface Marker {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** Names of the secrets that occur in some bytes, with the form in which they do. */
export function tracesIn(content: Uint8Array | string, markers: readonly Marker[]): string[] {
  const searched =
    typeof content === 'string'
      ? Buffer.from(content)
      : Buffer.from(content.buffer, content.byteOffset, content.byteLength);
  return markers.flatMap(({ name, bytes }) =>
    Object.entries(knownFormsOf(bytes))
      .filter(([, form]) => searched.includes(form))
      .map(([form]) => `${name}, ${form}`),
  );
}

/** The same for every file below a folder. @returns `file: secret, form` */
export function tracesBelow(folder: string, markers: readonly Marker[]): string[] {
  return filesBelow(folder).flatMap((file) =>
    tracesIn(readFileSync(join(folder, file)), markers).map((trace) => `${file}: ${trace}`),
  );
}

export function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => statSync(join(folder, name)).isFile())
    .sort();
}

const known = new WeakMap<Uint8Array, ReturnType<typeof formsOf>>();

/** Thousands of files are searched for the same few secrets. */
function knownFormsOf(bytes: Uint8Array): ReturnType<typeof formsOf> {
  const forms = known.get(bytes) ?? formsOf(bytes);
  known.set(bytes, forms);
  return forms;
}

function formsOf(bytes: Uint8Array): Readonly<Record<string, Buffer>> {
  const hex = Buffer.from(bytes).toString('hex');
  const texts: [string, string][] = [
    ['in hexadecimal', hex],
    ['in upper-case hexadecimal', hex.toUpperCase()],
    ['as a list of numbers', bytes.join(',')],
    ...[0, 1, 2].flatMap((shift) => base64Forms(bytes, shift)),
  ];
  return {
    'as it is': Buffer.from(bytes),
    'in two-byte characters': Buffer.from([...bytes].flatMap((byte) => [byte, 0])),
    ...Object.fromEntries(texts.map(([name, text]) => [name, Buffer.from(text)])),
  };
}

/** Base64 of text in which the secret begins at a place of this remainder by 3, without the characters it shares. */
function base64Forms(bytes: Uint8Array, shift: number): [string, string][] {
  const whole = Buffer.concat([Buffer.alloc(shift), bytes]).toString('base64');
  const core = whole.slice(shift === 0 ? 0 : 4, Math.floor((shift + bytes.length) / 3) * 4);
  return [
    [`in base64, shifted by ${shift}`, core],
    [`in base64url, shifted by ${shift}`, core.replaceAll('+', '-').replaceAll('/', '_')],
  ];
}
