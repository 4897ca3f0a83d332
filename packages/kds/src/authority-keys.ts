import {
  constants,
  createPrivateKey,
  createPublicKey,
  generateKeyPair,
  type KeyObject,
  sign,
} from 'node:crypto';
import { promisify } from 'node:util';
import {
  assembleAmdCaCertificate,
  buildAmdCaBody,
  concat,
  developmentKeyId,
  type Generation,
  type HashName,
  InvalidArgumentError,
  type ModulusBits,
  type RsaPublicKey,
} from '@vouchsafe/sev';

/** The private keys of a development authority. Node's key objects show nothing when printed or serialised. */
export interface AuthorityKeys {
  readonly ark: KeyObject;
  readonly ask: KeyObject;
  /** Signs VLEKs. Left out, it is made when it is first needed: most developers never need it. */
  readonly asvk?: KeyObject;
}

/** Naples has RSA 2048 with SHA-256, every later generation RSA 4096 with SHA-384. */
function keyForm(generation: Generation): {
  readonly modulusBits: ModulusBits;
  readonly hash: HashName;
} {
  return generation === 'naples'
    ? { modulusBits: 2048, hash: 'sha256' }
    : { modulusBits: 4096, hash: 'sha384' };
}

export async function generateAuthorityKeys(generation: Generation): Promise<AuthorityKeys> {
  const [ark, ask] = await Promise.all([generateAuthorityKey(generation), generateAuthorityKey(generation)]);
  return { ark, ask };
}

export async function generateAuthorityKey(generation: Generation): Promise<KeyObject> {
  const { modulusBits } = keyForm(generation);
  return (await promisify(generateKeyPair)('rsa', { modulusLength: modulusBits })).privateKey;
}

/** A private key as it is kept: PKCS #8 in PEM. */
export const writeKey = (key: KeyObject) => key.export({ type: 'pkcs8', format: 'pem' }).toString();
export const readKey = (pem: string) => createPrivateKey(pem);

/** RSASSA-PSS, MGF1 with the same hash, salt as long as the digest; big-endian. */
export function signPss(generation: Generation, key: KeyObject, data: Uint8Array): Uint8Array {
  const padding = constants.RSA_PKCS1_PSS_PADDING;
  const signature = sign(keyForm(generation).hash, data, {
    key,
    padding,
    saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
  });
  return Uint8Array.from(signature);
}

/**
 * The certificates of both keys, ARK signed by itself and ASK by the ARK, each naming itself in its key id.
 * @throws InvalidArgumentError when a key is not of the generation's form
 */
export function certifyAuthority(generation: Generation, keys: AuthorityKeys) {
  const certify = (usage: 'ARK' | 'ASK', key: KeyObject) => {
    const body = buildAmdCaBody({
      keyId: developmentKeyId(usage, generation),
      certifyingId: developmentKeyId('ARK', generation),
      usage,
      ...publicNumbers(generation, key),
    });
    return assembleAmdCaCertificate(body, signPss(generation, keys.ark, body));
  };
  return { ark: certify('ARK', keys.ark), ask: certify('ASK', keys.ask) };
}

/** The public half of an authority's key. @throws InvalidArgumentError when it is not of the generation's form */
export function rsaPublicKeyOf(generation: Generation, key: KeyObject): RsaPublicKey {
  const { modulus, exponent } = publicNumbers(generation, key);
  return { modulus, exponent };
}

function publicNumbers(generation: Generation, key: KeyObject) {
  const { modulusBits } = keyForm(generation);
  const found = key.asymmetricKeyDetails?.modulusLength;
  if (key.asymmetricKeyType !== 'rsa' || found !== modulusBits) {
    throw new InvalidArgumentError(
      'key',
      `${generation} has RSA keys of ${modulusBits} bits, found ${found ?? 'another kind'}`,
    );
  }
  const jwk = createPublicKey(key).export({ format: 'jwk' });
  const bytes = (text: string | undefined) => Uint8Array.from(Buffer.from(text ?? '', 'base64url'));
  const modulus = bytes(jwk.n);
  const padded = concat(new Uint8Array(modulusBits / 8 - modulus.length), modulus);
  return { modulusBits, modulus: padded, exponent: bytes(jwk.e) };
}
