import { createPrivateKey, createPublicKey, type KeyObject, X509Certificate } from 'node:crypto';
import { InvalidArgumentError, type P384PrivateKey, type P384PublicKey, Secret } from '@vouchsafe/sev';
import { readInput } from './files.js';
import type { Io } from './io.js';

/** Files that hold a P-384 key, in the forms that openssl and the tools of others write. */

/**
 * A private key: PEM or DER, SEC 1 or PKCS #8, without password. Wipe its scalar after use.
 * @throws InvalidArgumentError naming the file, never its content
 */
export async function readPrivateKey(path: string, what: string, io: Io): Promise<P384PrivateKey> {
  const content = await readInput(path, what, io);
  try {
    const object = firstThatReads(privateForms, content);
    if (object === undefined) {
      throw new InvalidArgumentError(
        what,
        `${path} holds no private key: expected PEM or DER, SEC 1 or PKCS #8, without password`,
        { hint: 'openssl ecparam -name secp384r1 -genkey -noout makes one' },
      );
    }
    const { publicKey, scalar } = coordinates(object, what, path);
    return { publicKey, scalar: Secret.take(scalar) };
  } finally {
    content.fill(0);
  }
}

/**
 * The public key of a file that holds one, a certificate, or a private key: PEM or DER.
 * @throws InvalidArgumentError naming the file, never its content
 */
export async function readPublicKey(path: string, what: string, io: Io): Promise<P384PublicKey> {
  const content = await readInput(path, what, io);
  try {
    const object = firstThatReads([...privateForms, ...publicForms], content);
    if (object === undefined) {
      throw new InvalidArgumentError(
        what,
        `${path} holds no key: expected a public key, a certificate or a private key, PEM or DER`,
      );
    }
    const { publicKey, scalar } = coordinates(object, what, path);
    scalar.fill(0);
    return publicKey;
  } finally {
    content.fill(0);
  }
}

type Form = (bytes: Buffer) => KeyObject;

const privateForms: readonly Form[] = [
  (key) => createPrivateKey({ key, format: 'pem' }),
  (key) => createPrivateKey({ key, format: 'der', type: 'sec1' }),
  (key) => createPrivateKey({ key, format: 'der', type: 'pkcs8' }),
];

const publicForms: readonly Form[] = [
  (key) => createPublicKey({ key, format: 'pem' }),
  (key) => createPublicKey({ key, format: 'der', type: 'spki' }),
  (key) => new X509Certificate(key).publicKey,
];

function firstThatReads(forms: readonly Form[], content: Uint8Array): KeyObject | undefined {
  const bytes = Buffer.from(content.buffer, content.byteOffset, content.byteLength);
  for (const form of forms) {
    try {
      return form(bytes);
    } catch {
      // Not in this form: the next one is tried, and what OpenSSL found wrong would not say more.
    }
  }
  return undefined;
}

function coordinates(key: KeyObject, what: string, path: string) {
  const jwk = key.export({ format: 'jwk' });
  if (jwk.kty !== 'EC' || jwk.crv !== 'P-384') {
    throw new InvalidArgumentError(what, `${path}: expected a key on P-384, found ${jwk.crv ?? jwk.kty}`);
  }
  const bytes = (text: string | undefined) => Uint8Array.from(Buffer.from(text ?? '', 'base64url'));
  return { publicKey: { x: bytes(jwk.x), y: bytes(jwk.y) }, scalar: bytes(jwk.d) };
}
