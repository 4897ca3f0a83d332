import { createCipheriv, createDecipheriv } from 'node:crypto';
import {
  buildTcbVersion,
  InvalidArgumentError,
  openSecret,
  type P384PrivateKey,
  type P384PublicKey,
  type ProductLine,
  type RandomSource,
  Secret,
  type TcbVersion,
  tcbLayout,
  toHex,
  vlekHashstick,
} from '@vouchsafe/sev';
import type { Chip } from './chip.js';
import { deriveBytes, deriveP384Key } from './keys.js';

/**
 * The versioned loaded endorsement key: a cloud operator's, the same on all of its chips, so that reports do not name the
 * chip. Each chip gets its seeds (the hashstick) wrapped under a key of its own. Inside, the hashstick here is 384 random
 * bytes, of which the key for a TCB version is derived; what AMD's holds is not published.
 */
export interface Vlek {
  readonly tcb: TcbVersion;
  /** 384 bytes. */
  readonly hashstick: Secret;
  readonly key: P384PrivateKey;
}

const hashstickSize = 384;

/** The operator's: the authority keeps it, and wraps it for each chip. */
export function drawVlekHashstick(random: RandomSource): Secret {
  return Secret.take(random(hashstickSize));
}

/** The VLEK of a TCB version. The caller zeroes its scalar. */
export function vlekKey(hashstick: Secret, line: ProductLine, tcb: TcbVersion): P384PrivateKey {
  return deriveP384Key(hashstick, `vlek ${tcbText(line, tcb)}`);
}

/** What keys of guests are derived from when they are bound to the operator and this TCB version: 32 bytes. */
export function vlekSeed(hashstick: Secret, line: ProductLine, tcb: TcbVersion): Secret {
  return deriveBytes(hashstick, `vlek seed ${tcbText(line, tcb)}`, 32);
}

/** What the authority certifies for an operator. */
export function vlekEndorsementRequest(
  hashstick: Secret,
  line: ProductLine,
  tcb: TcbVersion,
): { readonly line: ProductLine; readonly tcb: TcbVersion; readonly publicKey: P384PublicKey } {
  const key = vlekKey(hashstick, line, tcb);
  key.scalar.zero();
  return { line, tcb, publicKey: key.publicKey };
}

/** The key under which hashsticks come to a chip: 32 bytes, known to the chip and to the authority that made it. */
export function vlekWrapKey(chip: Chip): Secret {
  return deriveBytes(chip.secret, 'vlek wrapping', 32);
}

export interface NewVlekHashstick {
  /** Of the chip, from {@link vlekWrapKey}. */
  readonly wrapKey: Secret;
  /** 384 bytes. */
  readonly hashstick: Secret;
  readonly line: ProductLine;
  readonly tcb: TcbVersion;
  readonly random: RandomSource;
}

/**
 * The authority's side: the 432 bytes that the host gives to VLEK_LOAD, AES-256-GCM with the TCB version and the zero
 * bytes after it as additional data.
 * @throws InvalidArgumentError for a hashstick that is not 384 bytes, or a TCB version of another product line
 */
export function wrapVlekHashstick({ wrapKey, hashstick, line, tcb, random }: NewVlekHashstick): Uint8Array {
  if (hashstick.length !== hashstickSize)
    throw new InvalidArgumentError('hashstick', `expected ${hashstickSize} bytes`);
  const iv = random(12);
  const tcbVersion = buildTcbVersion(tcb, tcbLayout(line));
  const cipher = createCipheriv('aes-256-gcm', openSecret(wrapKey), iv);
  cipher.setAAD(additionalData(tcbVersion));
  const wrapped = new Uint8Array(cipher.update(openSecret(hashstick)));
  cipher.final();
  return vlekHashstick.build({ iv, wrapped, tcbVersion, tag: new Uint8Array(cipher.getAuthTag()) });
}

/** The chip's side; undefined when the tag does not fit: made for another chip, or changed. */
export function unwrapVlekHashstick(
  wrapKey: Secret,
  { iv, wrapped, tcbVersion, tag }: Record<'iv' | 'wrapped' | 'tcbVersion' | 'tag', Uint8Array>,
): Secret | undefined {
  const decipher = createDecipheriv('aes-256-gcm', openSecret(wrapKey), iv);
  decipher.setAAD(additionalData(tcbVersion));
  decipher.setAuthTag(tag);
  const hashstick = Secret.take(decipher.update(wrapped));
  try {
    decipher.final();
    return hashstick;
  } catch {
    hashstick.zero();
    return undefined;
  }
}

function additionalData(tcbVersion: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(16);
  bytes.set(tcbVersion);
  return bytes;
}

function tcbText(line: ProductLine, tcb: TcbVersion): string {
  return toHex(buildTcbVersion(tcb, tcbLayout(line)));
}
