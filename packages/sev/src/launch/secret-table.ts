import { isZero } from '../bytes.js';
import { guidField, u32 } from '../codec/fields.js';
import { type Guid, zeroGuid } from '../codec/guid.js';
import { structure } from '../codec/structure.js';
import type { KeyBytes } from '../crypto/index.js';
import { InvalidArgumentError, MalformedError, VouchsafeError } from '../errors.js';
import { openSecret, Secret } from '../secret.js';

const source = 'linux drivers/virt/coco/efi_secret/efi_secret.c; edk2 OvmfPkg/AmdSev/SecretDxe';

export const secretTableGuid: Guid = '1e74f542-71dd-4d66-963e-ef4287ff173b';

/** Secrets whose meaning programs agree on. */
export const wellKnownSecretGuids = {
  /** Pass-phrase of the disk (LUKS). */
  luksKey: '736869e5-84f0-4973-92ec-06879ce3da0b',
  /** Confidential Containers, offline_sev_kbc: keys as JSON. */
  offlineKeys: 'e6f5a162-d67f-4750-a67c-5d065f2a9910',
  /** Confidential Containers, online_sev_kbc: symmetric key and client id. */
  onlineConnection: '1ee27366-0c87-43a6-af48-28543eaf7cb0',
} as const satisfies Record<string, Guid>;

/** Where the guest begins to read: 20 bytes say whether there is a table and how long it is. */
export const secretTableHead = structure(
  { name: 'secret table', size: 20, source },
  {
    guid: guidField(0, 'kind of the table', { equals: secretTableGuid }),
    totalLength: u32(16, 'length of this head and all entries, without padding', { unit: 'bytes' }),
  },
);

const entryHead = structure(
  { name: 'secret table entry', size: 20, source },
  {
    guid: guidField(0, 'name of the secret; zero once it was deleted'),
    length: u32(16, 'length of this head and the data', { unit: 'bytes' }),
  },
);

const blockSize = 16;

export interface NamedSecret {
  readonly guid: Guid;
  readonly data: KeyBytes;
}

/**
 * The table that OVMF and Linux expect as the plaintext of LAUNCH_SECRET, zero-padded to a multiple of 16 bytes.
 * @throws InvalidArgumentError for a GUID that is given twice, zero, or not a GUID
 */
export function buildSecretTable(secrets: readonly NamedSecret[]): Secret {
  const totalLength = secrets.reduce(
    (sum, { data }) => sum + entryHead.size + data.length,
    secretTableHead.size,
  );
  const table = new Uint8Array(Math.ceil(totalLength / blockSize) * blockSize);
  table.set(secretTableHead.build({ totalLength }));
  const seen = new Set([zeroGuid]);
  let next = secretTableHead.size;
  for (const { guid: given, data } of secrets) {
    const guid = given.toLowerCase();
    if (seen.has(guid)) {
      const problem = guid === zeroGuid ? 'marks deleted entries' : 'is given twice';
      throw new InvalidArgumentError('secret table', `${guid} ${problem}`);
    }
    seen.add(guid);
    table.set(entryHead.build({ guid, length: entryHead.size + data.length }), next);
    table.set(data instanceof Secret ? openSecret(data) : data, next + entryHead.size);
    next += entryHead.size + data.length;
  }
  return Secret.take(table);
}

/** There is no secret table in the given place: nothing was injected, or not here. */
export class SecretTableAbsentError extends VouchsafeError {
  readonly code = 'secret-table-absent';

  constructor(found: string) {
    super(`secret table: expected ${secretTableGuid}, found ${found}`, {
      hint: 'look where the firmware’s footer places its secret area, after a launch that injected secrets',
    });
  }
}

export interface SecretTableEntry {
  readonly guid: Guid;
  /** A copy. */
  readonly data: Secret;
  /** Of the entry's first byte, in the table. */
  readonly offset: number;
  /** Of the whole entry, in bytes. */
  readonly size: number;
}

/**
 * Reads a secret table. Entries that were deleted are skipped. After the table only zero padding is allowed.
 * @throws SecretTableAbsentError when another GUID, or too little for one, stands in its place
 * @throws MalformedError for lengths that contradict each other, an entry given twice, or bytes after the table
 */
export function parseSecretTable(bytes: Uint8Array): SecretTableEntry[] {
  const totalLength = readSecretTableLength(bytes);
  if (totalLength > bytes.length) {
    refuse(secretTableHead.name, 'totalLength', 0, `at most ${bytes.length} bytes`, `${totalLength} bytes`);
  }
  if (!isZero(bytes.subarray(totalLength))) {
    refuse(secretTableHead.name, 'padding', totalLength, 'zero up to the end', 'other bytes');
  }
  const entries = new Map<Guid, SecretTableEntry>();
  let offset = secretTableHead.size;
  while (offset < totalLength) {
    const room = totalLength - offset;
    const { guid, length } = entryHead.parseAt(bytes, offset);
    if (length < entryHead.size || length > room) {
      refuse(entryHead.name, 'length', offset, `${entryHead.size} to ${room} bytes`, `${length} bytes`);
    }
    if (guid !== zeroGuid) {
      if (entries.has(guid))
        refuse(entryHead.name, 'guid', offset, 'each GUID once', `${guid} a second time`);
      const data = Secret.copyOf(bytes.subarray(offset + entryHead.size, offset + length));
      entries.set(guid, { guid, data, offset, size: length });
    }
    offset += length;
  }
  return [...entries.values()];
}

/**
 * How many bytes a secret table takes, read from its first 20, so that a guest need not read memory after it.
 * @throws SecretTableAbsentError when another GUID, or too little for one, stands in its place
 * @throws MalformedError when the length is less than the head's own
 */
export function readSecretTableLength(bytes: Uint8Array): number {
  const head = bytes.subarray(0, secretTableHead.size);
  if (head.length < secretTableHead.size) throw new SecretTableAbsentError(`${bytes.length} bytes`);
  const { guid } = entryHead.parse(head);
  if (guid !== secretTableGuid) throw new SecretTableAbsentError(guid);
  const { totalLength } = secretTableHead.parse(head);
  if (totalLength < secretTableHead.size) {
    refuse(
      secretTableHead.name,
      'totalLength',
      0,
      `${secretTableHead.size} bytes or more`,
      `${totalLength} bytes`,
    );
  }
  return totalLength;
}

function refuse(name: string, field: string, offset: number, expected: string, found: string): never {
  throw new MalformedError({ structure: name, field, offset, expected, found });
}

/** What to write over an entry so that it is gone, as Linux's efi_secret does: no name, no data, the same length. */
export function deletedEntry({ size }: Pick<SecretTableEntry, 'size'>): Uint8Array {
  const bytes = new Uint8Array(size);
  bytes.set(entryHead.build({ guid: zeroGuid, length: size }));
  return bytes;
}
