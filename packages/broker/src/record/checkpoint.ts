import { createHash, createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import { InvalidArgumentError, toHex } from '@vouchsafe/sev';
import { z } from 'zod';

/** Where a replica's chain stood. */
export interface ChainHead {
  readonly replica: string;
  readonly sequence: number;
  /** SHA-384, lower-case hexadecimal. */
  readonly hash: string;
}

/** All chains of the record at one moment, joined; and the checkpoint before. */
export interface Checkpoint {
  readonly version: 1;
  /** Id of the database. */
  readonly database: string;
  /** Counts from 1 without gaps. */
  readonly number: number;
  /** ISO 8601. */
  readonly at: string;
  /** SHA-384 of the document before it, lower-case hexadecimal; 96 zeros in the first. */
  readonly previous: string;
  readonly heads: readonly ChainHead[];
}

/** A checkpoint's text, exactly as it was signed, and its Ed25519 signature (64 bytes). */
export interface SignedCheckpoint {
  readonly document: string;
  readonly signature: Uint8Array;
}

const hash = z.string().regex(/^[0-9a-f]{96}$/);
const counter = z.int().nonnegative();
const schema = z.strictObject({
  version: z.literal(1),
  database: z.string().regex(/^[0-9a-f]{32}$/),
  number: counter.min(1),
  at: z.iso.datetime(),
  previous: hash,
  heads: z.array(z.strictObject({ replica: z.string().min(1), sequence: counter, hash })),
});

/** What stands before the first checkpoint. */
export const noCheckpoint = '0'.repeat(96);

/** @param key Ed25519 */
export function signCheckpoint(key: KeyObject, checkpoint: Checkpoint): SignedCheckpoint {
  const document = JSON.stringify(checkpoint);
  const signature = new Uint8Array(sign(null, new TextEncoder().encode(document), key));
  return { document, signature };
}

/** Whether the holder of the key has signed these very characters. */
export function isSignedBy(key: KeyObject, { document, signature }: SignedCheckpoint): boolean {
  // SQLite gives back whatever somebody put into the column.
  if (!(signature instanceof Uint8Array) || typeof document !== 'string') return false;
  const publicKey = key.type === 'private' ? createPublicKey(key) : key;
  return verify(null, new TextEncoder().encode(document), publicKey, signature);
}

/** @throws InvalidArgumentError for text that is not a checkpoint of version 1 */
export function readCheckpoint(document: string): Checkpoint {
  let json: unknown;
  try {
    json = JSON.parse(document);
  } catch {
    throw new InvalidArgumentError('checkpoint', 'expected JSON');
  }
  const read = schema.safeParse(json);
  if (!read.success) {
    const issue = read.error.issues[0]!;
    throw new InvalidArgumentError('checkpoint', `${issue.path.join('.') || 'document'}: ${issue.message}`);
  }
  return read.data;
}

/** SHA-384 of a document, as the next one refers to it. */
export function documentHash(document: string): string {
  return toHex(createHash('sha384').update(document).digest());
}
