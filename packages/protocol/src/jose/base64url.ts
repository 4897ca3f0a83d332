import { fromBase64, InvalidArgumentError, toBase64 } from '@vouchsafe/sev';
import { z } from 'zod';

/** base64url without padding (RFC 4648 section 5, RFC 7515). */
export function toBase64Url(bytes: Uint8Array): string {
  return toBase64(bytes).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}

/**
 * Reads base64url without padding, in its canonical form only.
 * @throws InvalidArgumentError naming `argument`
 */
export function fromBase64Url(text: string, argument = 'base64url text'): Uint8Array {
  if (!/^[A-Za-z0-9_-]*$/.test(text)) {
    throw new InvalidArgumentError(argument, 'expected base64url without padding');
  }
  const base64 = text.replaceAll('-', '+').replaceAll('_', '/');
  return fromBase64(base64.padEnd(Math.ceil(base64.length / 4) * 4, '='), argument);
}

/** Bytes that stay base64url in memory, where their text is what a digest covers. `least` and `greatest` count bytes. */
export function base64UrlText(least: number, greatest = least) {
  const error = `expected base64url of ${least === greatest ? least : `${least} to ${greatest}`} bytes`;
  const longestText = Math.ceil((greatest * 4) / 3);
  return z
    .string({ error })
    .max(longestText, { error })
    .refine((text) => fits(text, least, greatest), { error });
}

function fits(text: string, least: number, greatest: number): boolean {
  try {
    const { length } = fromBase64Url(text);
    return length >= least && length <= greatest;
  } catch (error) {
    if (error instanceof InvalidArgumentError) return false;
    throw error;
  }
}
