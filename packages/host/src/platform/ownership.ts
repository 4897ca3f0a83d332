import { createPrivateKey, type KeyObject } from 'node:crypto';
import {
  buildSevCertificate,
  equalBytes,
  generateP384,
  InvalidArgumentError,
  openSecret,
  type P384PrivateKey,
  p384KeyOf,
  parseSevCertificate,
  Secret,
  signSevCertificate,
} from '@vouchsafe/sev';

/**
 * The platform owner's CA. Its private key belongs to the operator of the machines, who uses it once for each machine
 * and keeps it away from all of them: the platform takes the signed PEK and the certificate, never the key.
 */
export interface PlatformOwner {
  /** Self-signed OCA certificate, 0x824 bytes. */
  readonly certificate: Uint8Array;
  readonly key: P384PrivateKey;
}

/** Makes an owner's CA, as `sevctl generate` does. `api` stands in the certificate and binds nothing. */
export async function makePlatformOwner(
  options: {
    readonly key?: P384PrivateKey;
    readonly api?: { readonly major: number; readonly minor: number };
  } = {},
): Promise<PlatformOwner> {
  const { key = await generateP384(), api = { major: 0, minor: 24 } } = options;
  const unsigned = buildSevCertificate({
    apiMajor: api.major,
    apiMinor: api.minor,
    usage: 'OCA',
    algorithm: 'ECDSA-SHA256',
    publicKey: key.publicKey,
  });
  const signer = { usage: 'OCA', algorithm: 'ECDSA-SHA256', key } as const;
  return { certificate: await signSevCertificate(unsigned, signer), key };
}

/**
 * Signs what `Platform.signingRequest` gave; the result and the owner's certificate are what `Platform.provision` takes.
 * @throws MalformedError for what is not a certificate
 * @throws InvalidArgumentError when it is not an unsigned PEK, or the owner's certificate and key do not belong together
 */
export async function signPek(request: Uint8Array, owner: PlatformOwner): Promise<Uint8Array> {
  const pek = parseSevCertificate(request, { offset: 0, path: 'PEK signing request' });
  if (pek.usage !== 'PEK' || pek.signatures.some((slot) => slot.kind !== 'empty')) {
    throw new InvalidArgumentError('PEK signing request', 'expected a PEK without signatures', {
      hint: 'take it from the platform itself: `vouchsafe platform provision` does',
    });
  }
  requirePair(owner);
  return signSevCertificate(request, { usage: 'OCA', algorithm: 'ECDSA-SHA256', key: owner.key });
}

/**
 * Reads an owner's certificate and private key: the key as `sevctl` writes it (DER, SEC 1), as `sev-tool` and openssl
 * do (PEM), or in PKCS #8. The given key bytes are for the caller to wipe.
 * @throws MalformedError, InvalidArgumentError
 */
export function readPlatformOwner(certificate: Uint8Array, key: Uint8Array): PlatformOwner {
  const { usage } = parseSevCertificate(certificate, { offset: 0, path: 'OCA certificate' });
  if (usage !== 'OCA')
    throw new InvalidArgumentError('OCA certificate', `expected usage OCA, found ${usage}`);
  const jwk = readKeyObject(key).export({ format: 'jwk' });
  if (jwk.kty !== 'EC' || jwk.crv !== 'P-384') {
    throw new InvalidArgumentError(
      'owner key',
      `expected a private key on P-384, found ${jwk.crv ?? jwk.kty}`,
    );
  }
  const bytes = (text: string | undefined) => Uint8Array.from(Buffer.from(text ?? '', 'base64url'));
  const publicKey = { x: bytes(jwk.x), y: bytes(jwk.y) };
  const owner = { certificate, key: { publicKey, scalar: Secret.take(bytes(jwk.d)) } };
  requirePair(owner);
  return owner;
}

/** The owner's private key as `sevctl` keeps it: DER, SEC 1. To be written where only the operator reads. */
export function writeOwnerKey({ publicKey, scalar }: P384PrivateKey): Secret {
  const text = (part: Uint8Array) => Buffer.from(part).toString('base64url');
  const jwk = {
    kty: 'EC',
    crv: 'P-384',
    x: text(publicKey.x),
    y: text(publicKey.y),
    d: text(openSecret(scalar)),
  };
  const der = createPrivateKey({ key: jwk, format: 'jwk' }).export({ type: 'sec1', format: 'der' });
  return Secret.take(der);
}

function readKeyObject(key: Uint8Array): KeyObject {
  const bytes = Buffer.from(key.buffer, key.byteOffset, key.byteLength);
  const forms = [
    { key: bytes, format: 'pem' },
    { key: bytes, format: 'der', type: 'sec1' },
    { key: bytes, format: 'der', type: 'pkcs8' },
  ] as const;
  for (const form of forms) {
    try {
      return createPrivateKey(form);
    } catch {
      // Not in this form: the next one is tried, and what OpenSSL found wrong would not say more.
    }
  }
  throw new InvalidArgumentError(
    'owner key',
    'expected an EC private key: DER (SEC 1), PEM or PKCS #8, without password',
  );
}

function requirePair({ certificate, key }: PlatformOwner): void {
  const certified = p384KeyOf(parseSevCertificate(certificate));
  if (!equalBytes(certified.x, key.publicKey.x) || !equalBytes(certified.y, key.publicKey.y)) {
    throw new InvalidArgumentError('owner key', "is not the key of the owner's certificate", {
      hint: 'name the certificate and the key that were made together',
    });
  }
}
