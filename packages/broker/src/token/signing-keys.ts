import { InvalidArgumentError, openSecret, Secret, UnavailableError } from '@vouchsafe/sev';
import {
  type CryptoKey,
  calculateJwkThumbprint,
  exportJWK,
  exportPKCS8,
  generateKeyPair,
  importJWK,
  importPKCS8,
} from 'jose';

/** The public half of a signing key as JWKS publishes it: EC P-256, for ES256 alone. */
export interface PublicSigningKey {
  readonly kty: 'EC';
  readonly crv: 'P-256';
  readonly alg: 'ES256';
  readonly use: 'sig';
  /** RFC 7638 thumbprint, SHA-256 in base64url. */
  readonly kid: string;
  readonly x: string;
  readonly y: string;
}

/** A signing key as it is kept. Times are milliseconds since 1970. */
export interface StoredSigningKey {
  readonly publicKey: PublicSigningKey;
  /** PKCS #8 in PEM, in UTF-8, encrypted under the master key. */
  readonly wrappedPrivateKey: Uint8Array;
  readonly createdAt: number;
  /** Set when a newer key took over: until then tokens that it signed are still good. */
  readonly verifiesUntil: number | undefined;
}

/** Keeps the signing keys where every replica finds them. */
export interface SigningKeyRepository {
  /** All keys, the newest first. */
  list(): Promise<readonly StoredSigningKey[]>;
  /** Adds the newest key and sets, in the same transaction, until when the one before it still verifies. */
  succeed(key: StoredSigningKey, previousVerifiesUntil: number, by: string): Promise<void>;
}

/** Encrypts private keys at rest. `context` is bound: a key that was moved to another name does not unwrap. */
export interface KeyWrapping {
  wrap(plaintext: Secret, context: string): Promise<Uint8Array>;
  unwrap(wrapped: Uint8Array, context: string): Promise<Secret>;
}

export interface KeyRingOptions {
  readonly repository: SigningKeyRepository;
  readonly wrapping: KeyWrapping;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** For how long what was read is believed, in milliseconds: one second. Another replica may have rotated since. */
  readonly refresh?: number;
}

/** The keys that sign tokens, shared by all replicas. */
export interface KeyRing {
  /** The key that signs now. @throws UnavailableError when there is none */
  signer(): Promise<{ readonly kid: string; readonly key: CryptoKey }>;
  /** The key of that name, if tokens that it signed are still good. */
  verifier(kid: string): Promise<CryptoKey | undefined>;
  /** What is published at `/.well-known/jwks.json`: every key whose tokens are still good. */
  publicKeys(): Promise<readonly PublicSigningKey[]>;
  /**
   * Makes a new key, which signs from now on. Tokens of the key before it stay good for `overlap` milliseconds; 0 ends
   * them at once, for a key that was stolen.
   * @param by who asks for it, for the record
   * @throws InvalidArgumentError for an overlap that is no whole number
   */
  rotate(overlap: number, by: string): Promise<PublicSigningKey>;
}

interface Loaded {
  readonly at: number;
  readonly keys: readonly StoredSigningKey[];
}

export function createKeyRing(options: KeyRingOptions): KeyRing {
  const { repository, wrapping, now, refresh = 1000 } = options;
  let loaded: Loaded | undefined;
  const privateKeys = new Map<string, CryptoKey>();
  const publicKeys = new Map<string, CryptoKey>();

  async function keys(): Promise<readonly StoredSigningKey[]> {
    const at = now();
    const age = loaded === undefined ? undefined : at - loaded.at;
    // A clock that went backwards makes what was read no younger.
    if (loaded !== undefined && age !== undefined && age >= 0 && age < refresh) return loaded.keys;
    const list = await repository.list();
    loaded = { at, keys: list };
    const kept = new Set(list.map(({ publicKey }) => publicKey.kid));
    for (const cache of [privateKeys, publicKeys])
      for (const kid of cache.keys()) if (!kept.has(kid)) cache.delete(kid);
    return list;
  }

  const verifies = ({ verifiesUntil }: StoredSigningKey) =>
    verifiesUntil === undefined || now() < verifiesUntil;

  return {
    async signer() {
      const newest = (await keys()).find(({ verifiesUntil }) => verifiesUntil === undefined);
      if (newest === undefined) {
        throw new UnavailableError('signing key', 'there is none', { hint: 'run `vouchsafe broker init`' });
      }
      const { kid } = newest.publicKey;
      const key = privateKeys.get(kid) ?? (await unwrapPrivateKey(newest, wrapping));
      privateKeys.set(kid, key);
      return { kid, key };
    },
    async verifier(kid) {
      const found = (await keys()).find(({ publicKey }) => publicKey.kid === kid);
      if (found === undefined || !verifies(found)) return undefined;
      const key = publicKeys.get(kid) ?? ((await importJWK({ ...found.publicKey }, 'ES256')) as CryptoKey);
      publicKeys.set(kid, key);
      return key;
    },
    async publicKeys() {
      return (await keys()).filter(verifies).map(({ publicKey }) => publicKey);
    },
    async rotate(overlap, by) {
      if (!Number.isSafeInteger(overlap) || overlap < 0)
        throw new InvalidArgumentError('overlap', 'expected a whole number of milliseconds');
      const key = await newSigningKey(wrapping, now());
      await repository.succeed(key, now() + overlap, by);
      loaded = undefined;
      return key.publicKey;
    },
  };
}

const context = (kid: string) => `token signing key ${kid}`;

async function newSigningKey(wrapping: KeyWrapping, createdAt: number): Promise<StoredSigningKey> {
  const { publicKey, privateKey } = await generateKeyPair('ES256', { extractable: true });
  const { x = '', y = '' } = await exportJWK(publicKey);
  const kid = await calculateJwkThumbprint({ kty: 'EC', crv: 'P-256', x, y });
  const plaintext = Secret.take(new TextEncoder().encode(await exportPKCS8(privateKey)));
  try {
    return {
      publicKey: { kty: 'EC', crv: 'P-256', alg: 'ES256', use: 'sig', kid, x, y },
      wrappedPrivateKey: await wrapping.wrap(plaintext, context(kid)),
      createdAt,
      verifiesUntil: undefined,
    };
  } finally {
    plaintext.zero();
  }
}

async function unwrapPrivateKey(stored: StoredSigningKey, wrapping: KeyWrapping): Promise<CryptoKey> {
  const plaintext = await wrapping.unwrap(stored.wrappedPrivateKey, context(stored.publicKey.kid));
  try {
    return await importPKCS8(new TextDecoder().decode(openSecret(plaintext)), 'ES256');
  } finally {
    plaintext.zero();
  }
}
