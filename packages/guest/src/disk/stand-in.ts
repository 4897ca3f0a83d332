import { createCipheriv, createDecipheriv, hkdfSync } from 'node:crypto';
import {
  bytesField,
  concat,
  InvalidArgumentError,
  MalformedError,
  openSecret,
  type RandomSource,
  type Secret,
  structure,
} from '@vouchsafe/sev';
import { WrongDiskKeyError } from './luks.js';

/**
 * A stand-in for an encrypted disk, for demos on machines without cryptsetup: one file, sealed with AES-256-GCM under a
 * key that HKDF-SHA-256 makes of the disk key. It is not LUKS and not for real data.
 */
const standInHead = structure(
  { name: 'stand-in volume', size: 64, source: 'Vouchsafe, packages/guest/src/disk/stand-in.ts' },
  {
    magic: bytesField(0, 20, '“VOUCHSAFE STAND-IN 1”'),
    salt: bytesField(20, 16, 'salt of the key derivation'),
    iv: bytesField(36, 12, 'GCM nonce'),
    tag: bytesField(48, 16, 'GCM authentication tag over the 36 bytes before the nonce and the content'),
  },
);

const magic = new TextEncoder().encode('VOUCHSAFE STAND-IN 1');
const shortestKey = 16;

/** Whether a file begins as a stand-in volume does. */
export function isStandInVolume(bytes: Uint8Array): boolean {
  return bytes.length >= magic.length && magic.every((byte, i) => byte === bytes[i]);
}

/**
 * Seals content into the bytes of a stand-in volume.
 * @throws InvalidArgumentError for a key shorter than 16 bytes: nothing slows a guesser down here
 */
export function sealStandInVolume(options: {
  content: Uint8Array;
  key: Secret;
  random: RandomSource;
}): Uint8Array {
  const { content, key, random } = options;
  if (key.length < shortestKey)
    throw new InvalidArgumentError('key', `expected at least ${shortestKey} random bytes`);
  const salt = random(16);
  const iv = random(12);
  const cipher = withDerivedKey(key, salt, (derived) => createCipheriv('aes-256-gcm', derived, iv));
  cipher.setAAD(concat(magic, salt));
  const sealed = concat(cipher.update(content), cipher.final());
  return concat(standInHead.build({ magic, salt, iv, tag: new Uint8Array(cipher.getAuthTag()) }), sealed);
}

/**
 * The content of a stand-in volume.
 * @throws MalformedError when the bytes are none
 * @throws WrongDiskKeyError when the key does not open it, or it was altered
 */
export function openStandInVolume(volume: Uint8Array, key: Secret, name = 'stand-in volume'): Uint8Array {
  const head = standInHead.parseAt(volume, 0);
  if (!isStandInVolume(volume)) {
    throw new MalformedError({
      structure: name,
      field: 'magic',
      offset: 0,
      expected: 'a stand-in volume',
      found: 'other bytes',
    });
  }
  const decipher = withDerivedKey(key, head.salt, (derived) =>
    createDecipheriv('aes-256-gcm', derived, head.iv, { authTagLength: 16 }),
  );
  decipher.setAAD(concat(magic, head.salt));
  decipher.setAuthTag(head.tag);
  const content = decipher.update(volume.subarray(standInHead.size));
  try {
    return concat(content, decipher.final());
  } catch {
    content.fill(0);
    throw new WrongDiskKeyError(name);
  }
}

function withDerivedKey<T>(key: Secret, salt: Uint8Array, work: (derived: Uint8Array) => T): T {
  const derived = new Uint8Array(hkdfSync('sha256', openSecret(key), salt, 'vouchsafe stand-in volume', 32));
  try {
    return work(derived);
  } finally {
    derived.fill(0);
  }
}
