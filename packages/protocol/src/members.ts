import { fromBase64, InvalidArgumentError, toBase64 } from '@vouchsafe/sev';
import { z } from 'zod';

/** The kinds of member that messages are made of. */

const base64Length = (bytes: number) => 4 * Math.ceil(bytes / 3);

/**
 * Bytes, in JSON as canonical base64 with padding on one line. `lengths` are the only numbers of bytes accepted, or the
 * least and the greatest with the unit that they are multiples of.
 */
export function bytesMember(
  lengths:
    | readonly number[]
    | { readonly least: number; readonly greatest: number; readonly multipleOf: number },
) {
  const [fits, text, greatest] = lengthRule(lengths);
  const bytes = z
    .instanceof(Uint8Array<ArrayBufferLike>, { error: `expected ${text}` })
    .refine((value) => fits(value.length), {
      error: `expected ${text}`,
    });
  const base64 = z.string({ error: `expected base64 of ${text}` }).max(base64Length(greatest), {
    error: `expected base64 of ${text}`,
  });
  return z.codec(base64, bytes, {
    decode(value, context) {
      const read = /\s/.test(value) ? undefined : tryBase64(value);
      if (read === undefined) {
        context.issues.push({
          code: 'custom',
          input: value,
          message: `expected canonical base64 of ${text}`,
        });
        return z.NEVER;
      }
      return read;
    },
    encode: toBase64,
  });
}

function lengthRule(
  lengths: Parameters<typeof bytesMember>[0],
): [(length: number) => boolean, string, number] {
  if ('least' in lengths) {
    const { least, greatest, multipleOf } = lengths;
    return [
      (length) => length >= least && length <= greatest && length % multipleOf === 0,
      `${least} to ${greatest} bytes, a multiple of ${multipleOf}`,
      greatest,
    ];
  }
  return [(length) => lengths.includes(length), `${lengths.join(' or ')} bytes`, Math.max(...lengths)];
}

function tryBase64(text: string): Uint8Array | undefined {
  try {
    return fromBase64(text);
  } catch (error) {
    if (error instanceof InvalidArgumentError) return undefined;
    throw error;
  }
}

/** An unsigned number of 8 or 32 bits. */
export function unsignedMember(bits: 8 | 32) {
  const error = `expected a whole number from 0 to ${2 ** bits - 1}`;
  return z
    .number({ error })
    .int({ error })
    .min(0, { error })
    .max(2 ** bits - 1, { error });
}

/** Text for people or names: bounded and without control characters, so that it cannot flood or steer a terminal. */
export function textMember(greatest: number) {
  const error = `expected text of 1 to ${greatest} characters without control characters`;
  return z
    .string({ error })
    .min(1, { error })
    .max(greatest, { error })
    .regex(/^\P{Cc}*$/u, { error });
}

/** An object with these members and no others. */
export function strictObject<const S extends z.ZodRawShape>(shape: S) {
  return z.strictObject(shape, {
    error: (issue) => (issue.code === 'unrecognized_keys' ? 'no such member' : 'expected an object'),
  });
}

/** A launch session's id: 16 random bytes as 32 lower-case hexadecimal digits. Whoever knows it can use the session up. */
export const launchIdMember = z
  .string({ error: 'expected 32 lower-case hexadecimal digits' })
  .regex(/^[0-9a-f]{32}$/, { error: 'expected 32 lower-case hexadecimal digits' });
