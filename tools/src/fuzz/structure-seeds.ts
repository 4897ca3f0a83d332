import { MalformedError } from '@vouchsafe/sev';
import type { AnyStructure } from '../exports.js';

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
  const tried = new Map<string, number>();
  for (;;) {
    const name = dislikedField(structure, bytes);
    if (name === undefined) return bytes;
    const row = structure.fields[name];
    const next = (tried.get(name) ?? 0) + 1;
    if (row === undefined || next > 0xffff)
      throw new TypeError(`${structure.name}: no value found for ${name}`);
    tried.set(name, next);
    const own = bytes.subarray(row.offset, row.offset + row.size).fill(0);
    own[0] = next & 0xff;
    if (own.length > 1) own[1] = next >> 8;
  }
}

function dislikedField(structure: AnyStructure, bytes: Uint8Array): string | undefined {
  try {
    structure.parse(bytes);
    return undefined;
  } catch (error) {
    if (error instanceof MalformedError)
      return Object.keys(structure.fields).find((name) => error.field.split('.')[0] === name) ?? error.field;
    throw error;
  }
}
