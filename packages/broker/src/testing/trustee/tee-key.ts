import {
  constants,
  createDecipheriv,
  createHash,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  type KeyObject,
  privateDecrypt,
} from 'node:crypto';
import { canonical } from './canonical.js';

/** As the attestation agent's configuration names them. */
export type TrusteeKeyKind = 'ECDH-ES+A256KW-P256' | 'ECDH-ES+A256KW-P521' | 'RSA-OAEP-256';

export interface TrusteeKey {
  /** The members of `tee-pubkey`. */
  readonly publicJwk: Readonly<Record<string, string>>;
  readonly privateKey: KeyObject;
}

export function makeTrusteeKey(kind: TrusteeKeyKind): TrusteeKey {
  const { publicKey, privateKey } =
    kind === 'RSA-OAEP-256'
      ? generateKeyPairSync('rsa', { modulusLength: 2048 })
      : generateKeyPairSync('ec', { namedCurve: kind.endsWith('P256') ? 'P-256' : 'P-521' });
  return trusteeKeyOf(publicKey, privateKey);
}

export function trusteeKeyOf(publicKey: KeyObject, privateKey: KeyObject): TrusteeKey {
  const { kty, crv, x, y, n, e } = publicKey.export({ format: 'jwk' }) as Record<string, string>;
  const publicJwk =
    kty === 'RSA'
      ? { kty, alg: 'RSA-OAEP-256', n: n!, e: e! }
      : { kty: kty!, crv: crv!, alg: 'ECDH-ES+A256KW', x: x!, y: y! };
  return { publicJwk, privateKey };
}

interface Header {
  readonly alg: string;
  readonly enc: string;
  readonly others: Readonly<Record<string, unknown>>;
}

/**
 * Opens an answer the way that Trustee's client does: the header is parsed, written again, and that text is what is
 * authenticated.
 * @throws Error for anything that this client could not read
 */
export function openResponse(response: unknown, key: TrusteeKey): Uint8Array {
  const text = (name: string) => bytes(stringIn(response, name));
  const header = parseHeader(text('protected').toString('utf8'));
  if (header.enc !== 'A256GCM') throw new Error(`content encryption ${header.enc}`);
  const contentKey = unwrap(header, text('encrypted_key'), key);
  const decipher = createDecipheriv('aes-256-gcm', contentKey, text('iv'), { authTagLength: 16 });
  decipher.setAAD(Buffer.from(Buffer.from(headerWrittenAgain(header)).toString('base64url'), 'ascii'));
  decipher.setAuthTag(text('tag'));
  return Buffer.concat([decipher.update(text('ciphertext')), decipher.final()]);
}

/** `alg`, `enc`, then the other members in alphabetical order, objects inside them likewise, no spaces. */
function headerWrittenAgain({ alg, enc, others }: Header): string {
  const rest = canonical(others).slice(1, -1);
  return `{"alg":${JSON.stringify(alg)},"enc":${JSON.stringify(enc)}${rest === '' ? '' : `,${rest}`}}`;
}

function parseHeader(text: string): Header {
  const json: unknown = JSON.parse(text);
  const { alg: _alg, enc: _enc, ...others } = json as Record<string, unknown>;
  return { alg: stringIn(json, 'alg'), enc: stringIn(json, 'enc'), others };
}

function unwrap({ alg, others }: Header, wrapped: Buffer, { publicJwk, privateKey }: TrusteeKey): Buffer {
  if (alg !== publicJwk['alg']) throw new Error(`algorithm ${alg} for a key of ${publicJwk['alg']}`);
  if (alg === 'RSA-OAEP-256') {
    const padding = constants.RSA_PKCS1_OAEP_PADDING;
    return privateDecrypt({ key: privateKey, padding, oaepHash: 'sha256' }, wrapped);
  }
  const epk = others['epk'];
  const crv = stringIn(epk, 'crv');
  if (crv !== publicJwk['crv']) throw new Error(`ephemeral key on ${crv}`);
  const point = { kty: 'EC', crv, x: stringIn(epk, 'x'), y: stringIn(epk, 'y') };
  const shared = diffieHellman({ privateKey, publicKey: createPublicKey({ key: point, format: 'jwk' }) });
  const size = crv === 'P-256' ? 32 : 66;
  const z = Buffer.concat([Buffer.alloc(size - shared.length), shared]);
  const unwrapper = createDecipheriv('id-aes256-wrap', concatKdf(z, alg), Buffer.alloc(8, 0xa6));
  return Buffer.concat([unwrapper.update(wrapped), unwrapper.final()]);
}

/** One round of the Concat KDF with SHA-256, empty party information, 256 bits. */
function concatKdf(z: Buffer, algorithm: string): Buffer {
  const u32 = (value: number) => {
    const word = Buffer.alloc(4);
    word.writeUInt32BE(value);
    return word;
  };
  const name = Buffer.from(algorithm, 'ascii');
  const parts = [u32(1), z, u32(name.length), name, u32(0), u32(0), u32(256)];
  return createHash('sha256').update(Buffer.concat(parts)).digest();
}

function stringIn(value: unknown, name: string): string {
  const member = (value as Record<string, unknown> | null | undefined)?.[name];
  if (typeof member !== 'string') throw new Error(`no text ${name}`);
  return member;
}

/** base64url without padding, which Rust's decoder insists on. */
function bytes(text: string): Buffer {
  if (!/^[A-Za-z0-9_-]*$/.test(text)) throw new Error('not base64url without padding');
  return Buffer.from(text, 'base64url');
}
