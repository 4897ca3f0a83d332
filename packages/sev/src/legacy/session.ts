import { concat, u32le } from '../bytes.js';
import { bytesField } from '../codec/fields.js';
import { structure } from '../codec/structure.js';
import {
  aes128Ctr,
  constantTimeEqual,
  ecdhP384,
  generateP384,
  hmacSha256,
  type KeyBytes,
  type P384PrivateKey,
  type P384PublicKey,
  type RandomSource,
} from '../crypto/index.js';
import { InvalidArgumentError, VouchsafeError } from '../errors.js';
import { openSecret, Secret } from '../secret.js';
import { buildSevCertificate } from './certificate.js';
import { deriveWrappingKeys } from './key-derivation.js';
import { parseGuestPolicy } from './policy.js';

const transportKeyLength = 16;

/** The session buffer of LAUNCH_START, SEND_START and RECEIVE_START: the wrapped transport keys of one channel. */
export const launchSessionBuffer = structure(
  { name: 'session buffer', size: 0x80, source: 'SEV API 0.24, chapter 4, session data' },
  {
    nonce: bytesField(0x00, 16, 'random context of the master secret'),
    wrappedKeys: bytesField(0x10, 32, 'TEK ‖ TIK, encrypted with AES-128-CTR under the KEK'),
    wrapIv: bytesField(0x30, 16, 'initial counter block of the wrapping'),
    wrapMac: bytesField(0x40, 32, 'HMAC-SHA-256 of the wrapped keys under the KIK'),
    policyMac: bytesField(0x60, 32, 'HMAC-SHA-256 of the policy word under the TIK'),
  },
);

/** TEK encrypts, TIK authenticates what the owner and the firmware exchange; 16 bytes each. */
export interface TransportKeys {
  readonly tek: Secret;
  readonly tik: Secret;
}

/** What a guest owner makes for one launch. Used for a second launch, it would let old measurements pass. */
export interface LaunchSession extends TransportKeys {
  /** For the host: certificate of the owner's ephemeral key, 0x824 bytes, without signatures. */
  readonly godhCertificate: Uint8Array;
  /** For the host: 0x80 bytes. */
  readonly session: Uint8Array;
  readonly policy: number;
}

export interface LaunchSessionOptions {
  /** The platform's Diffie–Hellman key, from a PDH certificate that was verified. */
  readonly pdh: P384PublicKey;
  /** The 32-bit guest policy that the firmware will hold the host to. */
  readonly policy: number;
  readonly random: RandomSource;
  /** Fixed values for known answers. Never give the same ones to two launches. */
  readonly keys?: {
    readonly godh?: P384PrivateKey;
    /** 16 bytes each. */
    readonly tek?: Uint8Array;
    readonly tik?: Uint8Array;
    readonly nonce?: Uint8Array;
    readonly wrapIv?: Uint8Array;
  };
}

/**
 * Opens a channel to one platform for one launch: fresh transport keys, wrapped so that only the firmware behind `pdh`
 * can open them (SEV API 0.24, chapter 4).
 * @throws InvalidArgumentError when the platform's key is not on the curve, the policy is not a 32-bit word, or a fixed
 * value has the wrong length
 */
export async function createLaunchSession(options: LaunchSessionOptions): Promise<LaunchSession> {
  const { pdh, policy, random, keys = {} } = options;
  const draw = (given: Uint8Array | undefined) => given ?? random(transportKeyLength);
  const tek = keys.tek === undefined ? Secret.take(random(transportKeyLength)) : Secret.copyOf(keys.tek);
  const tik = keys.tik === undefined ? Secret.take(random(transportKeyLength)) : Secret.copyOf(keys.tik);
  const nonce = draw(keys.nonce);
  const wrapIv = draw(keys.wrapIv);
  const godh = keys.godh ?? (await generateP384());
  try {
    const sharedSecret = await ecdhP384(godh, pdh);
    const session = await wrapTransportKeys({ sharedSecret, nonce, wrapIv, tek, tik, policy }).finally(() =>
      sharedSecret.zero(),
    );
    const godhCertificate = buildSevCertificate({
      apiMajor: 0,
      apiMinor: 0,
      usage: 'PDH',
      algorithm: 'ECDH-SHA256',
      publicKey: godh.publicKey,
    });
    return { godhCertificate, session, policy, tek, tik };
  } catch (error) {
    tek.zero();
    tik.zero();
    throw error;
  } finally {
    if (keys.godh === undefined) godh.scalar.zero();
  }
}

export interface WrapOptions {
  /** The ECDH of GODH and PDH: x coordinate, 48 bytes big-endian. */
  readonly sharedSecret: KeyBytes;
  /** 16 bytes, never used with this shared secret before. */
  readonly nonce: Uint8Array;
  /** 16 bytes. */
  readonly wrapIv: Uint8Array;
  /** 16 bytes. */
  readonly tek: KeyBytes;
  /** 16 bytes. */
  readonly tik: KeyBytes;
  readonly policy: number;
}

/**
 * The session buffer (0x80 bytes) for the given keys.
 * @throws InvalidArgumentError for a key, nonce or IV that is not 16 bytes long, or a policy that is not a 32-bit word
 */
export async function wrapTransportKeys(options: WrapOptions): Promise<Uint8Array> {
  const { sharedSecret, nonce, wrapIv, tek, tik, policy } = options;
  for (const [name, value] of Object.entries({ nonce, wrapIv, tek, tik })) {
    if (value.length !== transportKeyLength) {
      throw new InvalidArgumentError(name, `expected ${transportKeyLength} bytes, found ${value.length}`);
    }
  }
  const { kek, kik } = await deriveWrappingKeys(sharedSecret, nonce);
  const plain = concat(bytesOf(tek), bytesOf(tik));
  const wrappedKeys = await aes128Ctr(kek, wrapIv, plain);
  plain.fill(0);
  const wrapMac = await hmacSha256(kik, wrappedKeys);
  kek.zero();
  kik.zero();
  return launchSessionBuffer.build({
    nonce,
    wrappedKeys,
    wrapIv,
    wrapMac,
    policyMac: await policyMac(tik, policy),
  });
}

/** The session does not belong to these keys, or not to this policy. The firmware answers BAD_MEASUREMENT to both. */
export class SessionRefusedError extends VouchsafeError {
  readonly code = 'session-refused';
  readonly which: 'wrap-mac' | 'policy-mac';

  constructor(which: 'wrap-mac' | 'policy-mac') {
    const reasons = {
      'wrap-mac': 'the wrapped keys were not made for this platform and owner key, or were altered',
      'policy-mac': 'the policy is not the one that the owner bound to the session',
    };
    super(`session buffer: ${reasons[which]}`);
    this.which = which;
  }
}

export interface UnwrapOptions {
  /** The ECDH of GODH and PDH: x coordinate, 48 bytes big-endian. */
  readonly sharedSecret: KeyBytes;
  /** The session buffer, 0x80 bytes. */
  readonly session: Uint8Array;
  /** The policy that the host launches with. */
  readonly policy: number;
}

/**
 * The firmware's side: the transport keys of a session, once both MACs are right.
 * @throws MalformedError when the session is not 0x80 bytes long
 * @throws SessionRefusedError naming the MAC that is wrong
 */
export async function unwrapTransportKeys(options: UnwrapOptions): Promise<TransportKeys> {
  const { sharedSecret, policy } = options;
  const {
    nonce,
    wrapIv,
    wrappedKeys,
    wrapMac,
    policyMac: givenPolicyMac,
  } = launchSessionBuffer.parse(options.session);

  const { kek, kik } = await deriveWrappingKeys(sharedSecret, nonce);
  const genuine = constantTimeEqual(await hmacSha256(kik, wrappedKeys), wrapMac);
  kik.zero();
  if (!genuine) {
    kek.zero();
    throw new SessionRefusedError('wrap-mac');
  }
  const plain = await aes128Ctr(kek, wrapIv, wrappedKeys);
  kek.zero();
  const tek = Secret.take(plain.subarray(0, transportKeyLength));
  const tik = Secret.take(plain.subarray(transportKeyLength));

  if (!constantTimeEqual(await policyMac(tik, policy), givenPolicyMac)) {
    tek.zero();
    tik.zero();
    throw new SessionRefusedError('policy-mac');
  }
  return { tek, tik };
}

/** Binds the policy to the channel: HMAC-SHA-256 of the little-endian word under the TIK. */
function policyMac(tik: KeyBytes, policy: number): Promise<Uint8Array> {
  return hmacSha256(tik, u32le(parseGuestPolicy(policy).word));
}

const bytesOf = (key: KeyBytes): Uint8Array => (key instanceof Secret ? openSecret(key) : key);
