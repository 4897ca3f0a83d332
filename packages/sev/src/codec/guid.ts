import { concat, fromHex, reversed, toHex } from '../bytes.js';
import { InvalidArgumentError } from '../errors.js';

const pattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** A GUID as text: lower case, with hyphens, without braces. */
export type Guid = string;

export const zeroGuid: Guid = '00000000-0000-0000-0000-000000000000';

/** Microsoft order swaps the first three groups and leaves the last two as written. */
function swapGroups(bytes: Uint8Array): Uint8Array {
  return concat(
    reversed(bytes.subarray(0, 4)),
    reversed(bytes.subarray(4, 6)),
    reversed(bytes.subarray(6, 8)),
    bytes.subarray(8),
  );
}

/**
 * Text of 16 bytes in Microsoft order (the first three groups little-endian), as OVMF and QEMU store GUIDs.
 * @throws InvalidArgumentError for another number of bytes
 */
export function guidFromBytes(bytes: Uint8Array): Guid {
  return guidFromTextOrder(swapGroups(bytes));
}

/**
 * Text of 16 bytes that stand in the order of the text, as the host's certificate table stores GUIDs.
 * @throws InvalidArgumentError for another number of bytes
 */
export function guidFromTextOrder(bytes: Uint8Array): Guid {
  if (bytes.length !== 16) throw new InvalidArgumentError('GUID', `expected 16 bytes, found ${bytes.length}`);
  const hex = toHex(bytes);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/**
 * The 16 bytes of a GUID in Microsoft order.
 * @throws InvalidArgumentError when `guid` is not a GUID; either case is read
 */
export function guidToBytes(guid: Guid): Uint8Array {
  return swapGroups(guidToTextOrder(guid));
}

/**
 * The 16 bytes of a GUID in the order of the text.
 * @throws InvalidArgumentError when `guid` is not a GUID; either case is read
 */
export function guidToTextOrder(guid: Guid): Uint8Array {
  const lower = guid.toLowerCase();
  if (!pattern.test(lower)) {
    throw new InvalidArgumentError(
      'GUID',
      `expected 8-4-4-4-12 hexadecimal digits, found ${JSON.stringify(guid)}`,
    );
  }
  return fromHex(lower.replaceAll('-', ''));
}
