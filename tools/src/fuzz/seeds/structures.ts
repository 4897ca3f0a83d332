import { MalformedError } from '@vouchsafe/sev';
import type { AnyStructure } from '../../exports.js';

/**
 * Bytes that a structure accepts, from its declaration alone: zero where that is accepted, defaults where there are any,
 * and elsewhere the first small number that is. The parser says itself which field it dislikes.
 */
export function acceptedBytes(structure: AnyStructure): Uint8Array {
  const bytes = new Uint8Array(structure.size);
  for (const row of Object.values(structure.fields)) {
    if (row.defaultValue !== undefined)
      row.write(row.defaultValue, bytes.subarray(row.offset, row.offset + row.size));
  }
  const tried = new Map<number, number>();
  for (;;) {
    const disliked = dislikedField(structure, bytes);
    if (disliked === undefined) return bytes;
    const { offset, field } = disliked;
    const next = (tried.get(offset) ?? 0) + 1;
    if (next > 0xffff) throw new TypeError(`${structure.name}: no value found for ${field}`);
    tried.set(offset, next);
    bytes[offset] = next & 0xff;
    if (next > 0xff) bytes[offset + 1] = next >> 8;
  }
}

/** The field that the parser stops at, in a structure inside this one or not, with its offset in the whole. */
function dislikedField(structure: AnyStructure, bytes: Uint8Array): MalformedError | undefined {
  try {
    structure.parse(bytes);
    return undefined;
  } catch (error) {
    if (error instanceof MalformedError) return error;
    throw error;
  }
}
