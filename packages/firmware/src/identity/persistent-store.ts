import {
  aes128Ctr,
  bytesField,
  constantTimeEqual,
  hmacSha256,
  isZero,
  MalformedError,
  named,
  openSecret,
  type P384PrivateKey,
  persistentStoreSize,
  type RandomSource,
  reserved,
  type Secret,
  structure,
} from '@vouchsafe/sev';
import { p384Key } from './keys.js';

/**
 * What outlives a reset: the owner's certificate and the platform's keys, in 32 KiB that the host keeps (flash, or the
 * file of INIT_EX) and can neither read nor change. It can put back an older one: nothing here is fresh.
 */
export interface PlatformIdentity {
  readonly externallyOwned: boolean;
  /** Certificates are the whole 0x824 bytes, signed. */
  readonly oca: {
    readonly certificate: Uint8Array /** Absent when the owner keeps it. */;
    readonly key?: P384PrivateKey;
  };
  readonly pek: { readonly certificate: Uint8Array; readonly key: P384PrivateKey };
  readonly pdh: { readonly certificate: Uint8Array; readonly key: P384PrivateKey };
}

const owners = { self: 0, external: 1 } as const;
const source = 'packages/firmware/src/identity/persistent-store.ts';

const storeContents = structure(
  { name: 'persistent store contents', size: 0x1a00, source },
  {
    owner: named(0x0000, 4, owners, 'who owns the platform'),
    reserved: reserved(0x0004, 0x0c),
    ocaScalar: bytesField(0x0010, 48, 'private key of the OCA, big-endian; zero when the owner keeps it'),
    pekScalar: bytesField(0x0040, 48, 'private key of the PEK, big-endian'),
    pdhScalar: bytesField(0x0070, 48, 'private key of the PDH, big-endian'),
    oca: bytesField(0x00a0, 0x824, 'OCA certificate'),
    pek: bytesField(0x08c4, 0x824, 'PEK certificate'),
    pdh: bytesField(0x10e8, 0x824, 'PDH certificate'),
    reserved2: reserved(0x190c, 0x00f4),
  },
);

const storeBlob = structure(
  { name: 'persistent store', size: persistentStoreSize, source },
  {
    magic: bytesField(0x0000, 16, 'names the format', {
      default: new TextEncoder().encode('Vouchsafe store1'),
    }),
    iv: bytesField(0x0010, 16, 'initial counter block'),
    mac: bytesField(0x0020, 32, 'HMAC-SHA-256 over IV and ciphertext'),
    ciphertext: bytesField(0x0040, storeContents.size, 'contents under AES-128-CTR'),
    padding: bytesField(0x1a40, persistentStoreSize - 0x1a40, 'unused; erased flash', {
      default: new Uint8Array(persistentStoreSize - 0x1a40).fill(0xff),
    }),
  },
);

export interface StoreKeys {
  readonly encryption: Secret;
  readonly integrity: Secret;
}

/** Encrypts and authenticates the identity: 32 KiB. */
export async function sealStore(
  identity: PlatformIdentity,
  keys: StoreKeys,
  random: RandomSource,
): Promise<Uint8Array> {
  const { oca, pek, pdh, externallyOwned } = identity;
  const contents = storeContents.build({
    owner: externallyOwned ? 'external' : 'self',
    ocaScalar: oca.key === undefined ? new Uint8Array(48) : openSecret(oca.key.scalar),
    pekScalar: openSecret(pek.key.scalar),
    pdhScalar: openSecret(pdh.key.scalar),
    oca: oca.certificate,
    pek: pek.certificate,
    pdh: pdh.certificate,
  });
  const iv = random(16);
  const ciphertext = await aes128Ctr(keys.encryption, iv, contents);
  contents.fill(0);
  return storeBlob.build({ iv, ciphertext, mac: await hmacSha256(keys.integrity, iv, ciphertext) });
}

/**
 * Opens a store. Erased: undefined.
 * @throws MalformedError when it is damaged, or was sealed by another chip
 */
export async function openStore(blob: Uint8Array, keys: StoreKeys): Promise<PlatformIdentity | undefined> {
  if (blob.every((byte) => byte === 0xff)) return undefined;
  const { magic, iv, mac, ciphertext, padding } = storeBlob.parse(blob);
  const genuine = constantTimeEqual(mac, await hmacSha256(keys.integrity, iv, ciphertext));
  const whole =
    new TextDecoder().decode(magic) === 'Vouchsafe store1' && padding.every((byte) => byte === 0xff);
  if (!genuine || !whole) {
    throw new MalformedError({
      structure: storeBlob.name,
      field: 'mac',
      offset: storeBlob.offsetOf('mac'),
      expected: 'what this chip sealed',
      found: 'something else',
    });
  }
  const plaintext = await aes128Ctr(keys.encryption, iv, ciphertext);
  const contents = storeContents.parse(plaintext);
  plaintext.fill(0);
  const identity: PlatformIdentity = {
    externallyOwned: contents.owner === 'external',
    oca: {
      certificate: contents.oca.slice(),
      ...(isZero(contents.ocaScalar) ? {} : { key: p384Key(contents.ocaScalar.slice()) }),
    },
    pek: { certificate: contents.pek.slice(), key: p384Key(contents.pekScalar.slice()) },
    pdh: { certificate: contents.pdh.slice(), key: p384Key(contents.pdhScalar.slice()) },
  };
  contents.raw.fill(0);
  return identity;
}

export function forgetIdentity(identity: PlatformIdentity): void {
  identity.oca.key?.scalar.zero();
  identity.pek.key.scalar.zero();
  identity.pdh.key.scalar.zero();
}
