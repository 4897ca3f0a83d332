import {
  buildSevCertificate,
  type Generation,
  type P384PrivateKey,
  persistentStoreSize,
  type RandomSource,
  Secret,
} from '@vouchsafe/sev';
import { deriveBytes, deriveP256Point, deriveP384Key } from './keys.js';

/**
 * One piece of silicon and its board: a secret burnt into fuses, from which everything that never changes is derived,
 * and a flash memory for what does. Nothing of it but the chip id and the unsigned CEK ever leaves the processor.
 */
export interface Chip {
  readonly generation: Generation;
  /** 32 bytes. */
  readonly secret: Secret;
  readonly flash: Flash;
  /** 16 bytes inside the chip, out of any host's reach: the oldest firmware that it runs; erased, they are all 0xFF. */
  readonly committed: Flash;
}

/** A part of a flash memory, of the board's the one that keeps the persistent store; erased, it is all 0xFF. */
export interface Flash {
  read(): Uint8Array;
  write(contents: Uint8Array): Promise<void>;
}

/** Makes a new chip with an erased flash that lives as long as the process; `openChipFile` makes one that lasts. */
export function manufactureChip(options: {
  readonly random: RandomSource;
  readonly generation?: Generation;
}): Chip {
  const { random, generation = 'milan' } = options;
  const [flash, committed] = [createFlash(erasedStore()), createFlash(erasedCommitted())];
  return { generation, secret: Secret.take(random(32)), flash, committed };
}

export function createFlash(initial: Uint8Array, saved?: (store: Uint8Array) => Promise<void>): Flash {
  let contents = initial.slice();
  return {
    read: () => contents.slice(),
    async write(store) {
      await saved?.(store);
      contents = store.slice();
    },
  };
}

export const erasedStore = () => new Uint8Array(persistentStoreSize).fill(0xff);
export const erasedCommitted = () => new Uint8Array(16).fill(0xff);

/** GET_ID: 64 bytes, a point on P-256, x ‖ y, big-endian. AMD's key service knows the chip by it. */
export function chipId(chip: Chip): Uint8Array {
  return deriveP256Point(chip.secret, 'chip id');
}

/** The chip endorsement key. */
export function chipEndorsementKey(chip: Chip): P384PrivateKey {
  return deriveP384Key(chip.secret, 'chip endorsement key');
}

/** The CEK certificate as the chip exports it: both signature slots empty. AMD gives all of them API 0.14. */
export function unsignedCekCertificate(publicKey: P384PrivateKey['publicKey']): Uint8Array {
  return buildSevCertificate({
    apiMajor: 0,
    apiMinor: 14,
    usage: 'CEK',
    algorithm: 'ECDSA-SHA256',
    publicKey,
  });
}

/** Keys of the persistent store: AES-128 and HMAC-SHA-256. */
export function storeKeys(chip: Chip): { readonly encryption: Secret; readonly integrity: Secret } {
  return {
    encryption: deriveBytes(chip.secret, 'store encryption', 16),
    integrity: deriveBytes(chip.secret, 'store integrity', 32),
  };
}

/** What the maker sends to the key service, which signs the CEK under the generation's ASK. */
export function chipEndorsementRequest(chip: Chip): {
  readonly chipId: Uint8Array;
  readonly unsignedCek: Uint8Array;
} {
  const cek = chipEndorsementKey(chip);
  cek.scalar.zero();
  return { chipId: chipId(chip), unsignedCek: unsignedCekCertificate(cek.publicKey) };
}
