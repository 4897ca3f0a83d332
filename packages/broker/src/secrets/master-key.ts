import { createHash } from 'node:crypto';
import { readIfThere, requirePrivate, writeOnce } from '@vouchsafe/kds';
import {
  fromBase64,
  InvalidArgumentError,
  openSecret,
  type RandomSource,
  Secret,
  toBase64,
  toHex,
  UnavailableError,
} from '@vouchsafe/sev';
import { seal, unseal } from './sealing.js';

/** Wraps the root key of a database. It is asked when the database is opened, and at no release. */
export interface MasterKey {
  /** Tells keys apart, in the database and in messages; nothing can be learnt from it. */
  readonly id: string;
  /** @throws UnavailableError when whoever holds the key does not answer */
  wrap(key: Secret, context: string): Promise<Uint8Array>;
  /** Undefined for what this key did not wrap in this context. @throws UnavailableError */
  unwrap(wrapped: Uint8Array, context: string): Promise<Secret | undefined>;
  close(): void;
}

const keyLength = 32;

/** A master key that this process holds. It takes the key over. @throws InvalidArgumentError unless it has 32 bytes */
export function localMasterKey(key: Secret, random: RandomSource): MasterKey {
  if (key.length !== keyLength) {
    throw new InvalidArgumentError('master key', `it has ${key.length} bytes; expected ${keyLength}`);
  }
  const digest = createHash('sha256').update('vouchsafe master key id').update(openSecret(key)).digest();
  const contextBytes = (context: string) => new TextEncoder().encode(context);
  return {
    id: `local:${toHex(digest.subarray(0, 8))}`,
    wrap: async (root, context) => seal(key, contextBytes(context), openSecret(root), random),
    unwrap: async (wrapped, context) => unseal(key, contextBytes(context), wrapped),
    close: () => key.zero(),
  };
}

/**
 * Makes a master key file that is not there yet: base64 of 32 bytes on one line, mode 0600.
 * @throws UnavailableError when there is one already
 */
export async function createMasterKeyFile(path: string, random: RandomSource): Promise<void> {
  const text = `${toBase64(random(keyLength))}\n`;
  const written = new TextDecoder().decode(await writeOnce(path, text));
  if (written !== text) {
    throw new UnavailableError(path, 'there is a master key already', {
      hint: 'a database that was sealed under it needs it: it is not overwritten',
    });
  }
}

/** @throws UnavailableError when the file is missing or others can read it; InvalidArgumentError for another content */
export async function masterKeyFromFile(path: string, random: RandomSource): Promise<MasterKey> {
  const content = await readIfThere(path);
  if (content === undefined) {
    throw new UnavailableError(path, 'there is no master key', {
      hint: '`vouchsafe broker init` makes one; a database that exists needs the one it was made with',
    });
  }
  await requirePrivate(path);
  try {
    return localMasterKey(keyFromText(new TextDecoder().decode(content), path), random);
  } finally {
    content.fill(0);
  }
}

/**
 * The master key of an environment variable: base64 of 32 bytes.
 * @throws InvalidArgumentError when the variable is missing or holds something else
 */
export function masterKeyFromEnvironment(
  environment: Readonly<Record<string, string | undefined>>,
  variable: string,
  random: RandomSource,
): MasterKey {
  const text = environment[variable];
  if (text === undefined) {
    throw new InvalidArgumentError(variable, 'expected the master key in this environment variable');
  }
  return localMasterKey(keyFromText(text, variable), random);
}

function keyFromText(text: string, source: string): Secret {
  let bytes: Uint8Array;
  try {
    bytes = fromBase64(text, source);
  } catch {
    // Not even as a cause: the text is a key, or something as secret put in the wrong place.
    throw new InvalidArgumentError(source, 'expected base64 with padding, of 32 bytes');
  }
  if (bytes.length !== keyLength) {
    throw new InvalidArgumentError(source, `expected ${keyLength} bytes in base64, found ${bytes.length}`);
  }
  return Secret.take(bytes);
}
