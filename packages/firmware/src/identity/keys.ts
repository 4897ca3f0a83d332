import { createECDH, createHmac } from 'node:crypto';
import {
  InvalidArgumentError,
  openSecret,
  type P384PrivateKey,
  type RandomSource,
  Secret,
} from '@vouchsafe/sev';

/** Elliptic-curve keys from bytes that the chip draws or derives, so that the same source gives the same keys. */

type Curve = 'secp384r1' | 'prime256v1';
const scalarLength = { secp384r1: 48, prime256v1: 32 } as const;

/** Draws 48 bytes until they are a scalar of the curve: all but one draw in 2^190 are. */
export function drawP384Key(random: RandomSource): P384PrivateKey {
  return p384Key(firstScalar('secp384r1', () => random(scalarLength.secp384r1)));
}

/** The P-384 key that a chip secret and a label give. */
export function deriveP384Key(chipSecret: Secret, label: string): P384PrivateKey {
  return p384Key(derivedScalar('secp384r1', chipSecret, label));
}

/** The point on P-256 that a chip secret and a label give: x ‖ y, 32 bytes each, big-endian. */
export function deriveP256Point(chipSecret: Secret, label: string): Uint8Array {
  const scalar = derivedScalar('prime256v1', chipSecret, label);
  const point = publicPoint('prime256v1', scalar);
  scalar.fill(0);
  if (point === undefined) throw new InvalidArgumentError('scalar', 'is not one of P-256');
  return point;
}

/** `length` bytes, 32 at most, that a chip secret and a label give. */
export function deriveBytes(chipSecret: Secret, label: string, length: number): Secret {
  const block = hmac('sha256', chipSecret, label, 0);
  const secret = Secret.copyOf(block.subarray(0, length));
  block.fill(0);
  return secret;
}

/**
 * Takes over a 48-byte big-endian scalar; the array is zeroed.
 * @throws InvalidArgumentError when it is zero or not below the order of P-384
 */
export function p384Key(scalar: Uint8Array): P384PrivateKey {
  const point = publicPoint('secp384r1', scalar);
  if (point === undefined) throw new InvalidArgumentError('scalar', 'is not one of P-384');
  return { publicKey: { x: point.slice(0, 48), y: point.slice(48) }, scalar: Secret.take(scalar) };
}

function derivedScalar(curve: Curve, chipSecret: Secret, label: string): Uint8Array {
  let attempt = 0;
  return firstScalar(curve, () => {
    const block = hmac('sha384', chipSecret, label, attempt++);
    return block.subarray(0, scalarLength[curve]);
  });
}

function firstScalar(curve: Curve, next: () => Uint8Array): Uint8Array {
  for (let tries = 0; tries < 8; tries++) {
    const candidate = next();
    if (candidate.length === scalarLength[curve] && publicPoint(curve, candidate) !== undefined)
      return candidate;
  }
  throw new InvalidArgumentError('random source', `gives no scalar of ${curve}`);
}

/** x ‖ y, or undefined where the scalar is zero or too large: OpenSSL refuses those. */
function publicPoint(curve: Curve, scalar: Uint8Array): Uint8Array | undefined {
  try {
    const pair = createECDH(curve);
    pair.setPrivateKey(scalar);
    return new Uint8Array(pair.getPublicKey().subarray(1));
  } catch {
    return undefined;
  }
}

function hmac(hash: string, chipSecret: Secret, label: string, attempt: number): Uint8Array {
  return createHmac(hash, openSecret(chipSecret))
    .update(`vouchsafe ${label}`)
    .update(Uint8Array.of(attempt))
    .digest();
}
