import { concat, digest, InvalidArgumentError } from '@vouchsafe/sev';
import { importTeeKey, type PlatformKey, type TeeKey } from './tee-key.js';

const { subtle } = globalThis.crypto;
const algorithm = 'ECDH-ES+A256KW';
const keyBits = 256;

/** Bits of the shared x coordinate, padded to whole bytes. */
const secretBits = { 'P-256': 256, 'P-521': 528 } as const;

/**
 * The key that wraps the content key: ECDH, then the Concat KDF with SHA-256 and empty party information (RFC 7518
 * section 4.6, NIST SP 800-56A section 5.8.1).
 * @throws InvalidArgumentError for a key that is off its curve, and for keys on two curves
 */
export async function agreeOnKeyEncryptionKey(own: PlatformKey, peer: TeeKey): Promise<PlatformKey> {
  if (peer.kty !== 'EC') throw new InvalidArgumentError('peer key', 'expected a key on an elliptic curve');
  const point = await importTeeKey(peer);
  const shared = await sharedSecret(own, point, secretBits[peer.crv]);
  const key = await digest('sha256', u32(1), shared, otherInfo());
  shared.fill(0);
  const imported = await subtle.importKey('raw', new Uint8Array(key), 'AES-KW', false, [
    'wrapKey',
    'unwrapKey',
  ]);
  key.fill(0);
  return imported;
}

async function sharedSecret(own: PlatformKey, point: PlatformKey, bits: number): Promise<Uint8Array> {
  try {
    return new Uint8Array(await subtle.deriveBits({ name: 'ECDH', public: point }, own, bits));
  } catch (cause) {
    throw new InvalidArgumentError('peer key', 'the two keys agree on nothing', { cause });
  }
}

/** AlgorithmID, PartyUInfo, PartyVInfo and SuppPubInfo, each with its length except the last. */
function otherInfo(): Uint8Array {
  const name = new TextEncoder().encode(algorithm);
  return concat(u32(name.length), name, u32(0), u32(0), u32(keyBits));
}

function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}
