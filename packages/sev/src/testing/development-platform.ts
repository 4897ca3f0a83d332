import { constants, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { generateP384, type P384PrivateKey } from '../crypto/index.js';
import type { PlatformChain } from '../legacy/bundle.js';
import {
  type AmdCaCertificate,
  assembleAmdCaCertificate,
  buildAmdCaBody,
  caAlgorithm,
  caHash,
  type ModulusBits,
  parseAmdCaCertificate,
} from '../legacy/ca-certificate.js';
import {
  buildSevCertificate,
  type KeyAlgorithm,
  type KeyUsage,
  parseSevCertificate,
  signedBytes,
} from '../legacy/certificate.js';
import { addSignature, rsaSignatureField, signSevCertificate } from '../legacy/certificate-signature.js';
import {
  developmentKeyId,
  developmentPlatformRoot,
  type Generation,
  type PlatformRoot,
} from '../legacy/roots.js';
import { keptKey } from './kept-keys.js';

/** An RSA key pair of a CA, as tests need it: with node:crypto, and generated once for a whole file of tests. */
export interface CaKey {
  readonly privateKey: KeyObject;
  readonly modulusBits: ModulusBits;
  readonly modulus: Uint8Array;
  readonly exponent: Uint8Array;
}

export function generateCaKey(modulusBits: ModulusBits, publicExponent = 65537): CaKey {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: modulusBits, publicExponent });
  return caKeyOf(privateKey, modulusBits);
}

/** The same key in every run, which takes no time. */
export function keptCaKey(name: string, modulusBits: ModulusBits): CaKey {
  return caKeyOf(keptKey(name, modulusBits), modulusBits);
}

function caKeyOf(privateKey: KeyObject, modulusBits: ModulusBits): CaKey {
  const { n = '', e = '' } = createPublicKey(privateKey).export({ format: 'jwk' });
  const bytes = (text: string) => new Uint8Array(Buffer.from(text, 'base64url'));
  return { privateKey, modulusBits, modulus: bytes(n), exponent: bytes(e) };
}

export function signAsCa(key: CaKey, data: Uint8Array): Uint8Array {
  const parameters = {
    key: key.privateKey,
    padding: constants.RSA_PKCS1_PSS_PADDING,
    saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
  };
  return new Uint8Array(sign(caHash(key), data, parameters));
}

export interface NewCa {
  readonly keyId: Uint8Array;
  readonly certifyingId: Uint8Array;
  readonly usage: 'ARK' | 'ASK';
  readonly key: CaKey;
  readonly signer: CaKey;
}

export function makeCaCertificate({ key, signer, ...names }: NewCa): AmdCaCertificate {
  const body = buildAmdCaBody({
    ...names,
    modulusBits: key.modulusBits,
    modulus: key.modulus,
    exponent: key.exponent,
  });
  return parseAmdCaCertificate(assembleAmdCaCertificate(body, signAsCa(signer, body)));
}

export interface TestAuthority {
  readonly generation: Generation;
  readonly arkKey: CaKey;
  readonly askKey: CaKey;
  readonly ark: AmdCaCertificate;
  readonly ask: AmdCaCertificate;
  readonly root: PlatformRoot;
}

/** A development CA of a generation's form. The keys may be shared between generations that have the same size. */
export async function makeAuthority(
  generation: Generation,
  arkKey: CaKey,
  askKey: CaKey,
): Promise<TestAuthority> {
  const arkId = developmentKeyId('ARK', generation);
  const askId = developmentKeyId('ASK', generation);
  const ark = makeCaCertificate({
    keyId: arkId,
    certifyingId: arkId,
    usage: 'ARK',
    key: arkKey,
    signer: arkKey,
  });
  const ask = makeCaCertificate({
    keyId: askId,
    certifyingId: arkId,
    usage: 'ASK',
    key: askKey,
    signer: arkKey,
  });
  return { generation, arkKey, askKey, ark, ask, root: await developmentPlatformRoot(ark.raw) };
}

/** Endorses a chip, as AMD's key service does: the CEK with the ASK's signature. */
export function endorse(
  authority: Pick<TestAuthority, 'askKey' | 'ask'>,
  unsignedCek: Uint8Array,
): Uint8Array {
  const signature = signAsCa(authority.askKey, signedBytes(parseSevCertificate(unsignedCek)));
  const signer = { usage: 'ASK', algorithm: caAlgorithm(authority.ask) } as const;
  return addSignature(unsignedCek, signer, rsaSignatureField(signature));
}

export type PlatformKeys = Readonly<Record<'cek' | 'oca' | 'pek' | 'pdh', P384PrivateKey>>;

export async function generatePlatformKeys(): Promise<PlatformKeys> {
  const [cek, oca, pek, pdh] = await Promise.all([
    generateP384(),
    generateP384(),
    generateP384(),
    generateP384(),
  ]);
  return { cek, oca, pek, pdh };
}

const algorithms = {
  CEK: 'ECDSA-SHA256',
  OCA: 'ECDSA-SHA256',
  PEK: 'ECDSA-SHA256',
  PDH: 'ECDH-SHA256',
} as const;

/** An unsigned certificate of a platform's key. */
export function unsigned(
  usage: keyof typeof algorithms,
  key: P384PrivateKey,
  changes: { readonly algorithm?: KeyAlgorithm; readonly usage?: KeyUsage } = {},
): Uint8Array {
  const fields = { apiMajor: 0, apiMinor: 24, usage, algorithm: algorithms[usage], publicKey: key.publicKey };
  return buildSevCertificate({ ...fields, ...changes });
}

export function by(usage: keyof typeof algorithms, key: P384PrivateKey) {
  return { usage, algorithm: algorithms[usage], key };
}

/** The chain of a platform that the authority endorsed. */
export async function makePlatform(
  authority: TestAuthority,
  keys: PlatformKeys,
): Promise<Required<PlatformChain>> {
  const exportedCek = unsigned('CEK', keys.cek);
  const pek = await signSevCertificate(unsigned('PEK', keys.pek), by('OCA', keys.oca));
  return {
    ark: authority.ark,
    ask: authority.ask,
    cek: parseSevCertificate(endorse(authority, exportedCek)),
    exportedCek: parseSevCertificate(exportedCek),
    oca: parseSevCertificate(await signSevCertificate(unsigned('OCA', keys.oca), by('OCA', keys.oca))),
    pek: parseSevCertificate(await signSevCertificate(pek, by('CEK', keys.cek))),
    pdh: parseSevCertificate(await signSevCertificate(unsigned('PDH', keys.pdh), by('PEK', keys.pek))),
  };
}
