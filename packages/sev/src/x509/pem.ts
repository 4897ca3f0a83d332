import { fromBase64, toBase64 } from '../bytes.js';
import { InvalidArgumentError, MalformedError } from '../errors.js';

/** Labels of RFC 7468 that endorsements come under. */
export type PemLabel = 'CERTIFICATE' | 'X509 CRL';

export interface PemBlock {
  readonly label: string;
  readonly bytes: Uint8Array;
  /** Of the block's first character in the text. */
  readonly offset: number;
}

const maximumBlocks = 64;
const begin = /-----BEGIN ([A-Z0-9 ]*)-----\r?\n/y;

/**
 * Reads every block of a PEM text (RFC 7468), in order. Between blocks there may be white space and nothing else; base64
 * is canonical.
 * @throws MalformedError naming the block and its offset in the text
 */
export function parsePemBlocks(text: string, path = 'PEM text'): PemBlock[] {
  const blocks: PemBlock[] = [];
  for (let at = skipSpace(text, 0); at < text.length; ) {
    const field = `block ${blocks.length + 1}`;
    const refuse = (expected: string, found: string, cause?: unknown) =>
      new MalformedError({ structure: path, field, offset: at, expected, found }, { cause });
    begin.lastIndex = at;
    const opening = begin.exec(text);
    if (opening === null) throw refuse('-----BEGIN LABEL-----', 'other text');
    if (blocks.length === maximumBlocks) throw refuse(`at most ${maximumBlocks} blocks`, 'one more');
    const label = opening[1]!;
    const closing = `-----END ${label}-----`;
    const bodyAt = begin.lastIndex;
    const end = text.indexOf('-----', bodyAt);
    if (!text.startsWith(closing, end)) throw refuse(closing, 'no such line');
    blocks.push({ label, bytes: decode(text.slice(bodyAt, end), refuse), offset: at });
    at = skipSpace(text, end + closing.length);
  }
  return blocks;
}

/**
 * The contents of a PEM text whose blocks all have one label; one at least.
 * @throws MalformedError
 */
export function parsePem(text: string, label: PemLabel, path = 'PEM text'): Uint8Array[] {
  const blocks = parsePemBlocks(text, path);
  const stranger = blocks.find((block) => block.label !== label);
  if (blocks.length === 0 || stranger !== undefined) {
    const found = stranger === undefined ? 'no block' : `a block of ${stranger.label || 'no label'}`;
    const offset = stranger?.offset ?? 0;
    throw new MalformedError({ structure: path, field: 'label', offset, expected: label, found });
  }
  return blocks.map(({ bytes }) => bytes);
}

/** Whether bytes are meant as PEM: after white space they begin with dashes, which no DER value does. */
export function looksLikePem(bytes: Uint8Array): boolean {
  const first = bytes.findIndex((octet) => octet > 0x20);
  return first >= 0 && bytes.subarray(first, first + 5).every((octet) => octet === 0x2d);
}

/** A block of PEM with lines of 64 characters. */
export function encodePem(label: PemLabel, bytes: Uint8Array): string {
  const lines = toBase64(bytes).match(/.{1,64}/g) ?? [];
  return [`-----BEGIN ${label}-----`, ...lines, `-----END ${label}-----`, ''].join('\n');
}

function decode(
  body: string,
  refuse: (expected: string, found: string, cause: unknown) => Error,
): Uint8Array {
  try {
    return fromBase64(body);
  } catch (cause) {
    if (!(cause instanceof InvalidArgumentError)) throw cause;
    throw refuse('canonical base64 with padding', 'something else', cause);
  }
}

function skipSpace(text: string, from: number): number {
  const found = text.slice(from).search(/[^ \t\r\n]/);
  return found < 0 ? text.length : from + found;
}
