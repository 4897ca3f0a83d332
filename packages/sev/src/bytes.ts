import { InvalidArgumentError } from './errors.js';

const hexDigits = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

/** Lower-case hexadecimal, two digits a byte, no separator. */
export function toHex(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += hexDigits[byte];
  return text;
}

/**
 * Reads hexadecimal of either case; an even number of digits and nothing else.
 * @throws InvalidArgumentError naming `argument`
 */
export function fromHex(text: string, argument = 'hexadecimal text'): Uint8Array {
  if (!/^(?:[0-9a-fA-F]{2})*$/.test(text)) {
    throw new InvalidArgumentError(
      argument,
      'expected an even number of hexadecimal digits and nothing else',
    );
  }
  return Uint8Array.from({ length: text.length / 2 }, (_, i) =>
    Number.parseInt(text.slice(2 * i, 2 * i + 2), 16),
  );
}

/** Base64 with padding (RFC 4648 section 4), on one line. */
export function toBase64(bytes: Uint8Array): string {
  let binary = '';
  for (let at = 0; at < bytes.length; at += 0x8000) {
    // Spread, they would be copied one by one.
    binary += String.fromCharCode.apply(null, bytes.subarray(at, at + 0x8000) as unknown as number[]);
  }
  return btoa(binary);
}

/**
 * Reads base64 with padding (RFC 4648 section 4). White space around and line breaks inside are accepted, because tools
 * write them; any other deviation from the canonical encoding is not.
 * @throws InvalidArgumentError naming `argument`
 */
export function fromBase64(text: string, argument = 'base64 text'): Uint8Array {
  const compact = text.replace(/[\r\n]/g, '').trim();
  let bytes: Uint8Array;
  try {
    const binary = atob(compact);
    bytes = new Uint8Array(binary.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  } catch (cause) {
    throw new InvalidArgumentError(argument, 'expected base64 with padding', { cause });
  }
  if (toBase64(bytes) !== compact) {
    throw new InvalidArgumentError(argument, 'expected canonical base64 with padding');
  }
  return bytes;
}

/** One new array that holds all parts in order. */
export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** A new array with the bytes in the opposite order. */
export function reversed(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes).reverse();
}

/** Compares public bytes. For secrets and authentication codes use `constantTimeEqual`. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Four bytes, little-endian. */
export function u32le(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

export function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}
