import type { Location } from '../codec/index.js';
import { type DerElement, type DerReader, readDer } from './der.js';
import { contextTag } from './der-tags.js';
import { derBitString, derElement, derInteger, derSequence } from './der-writer.js';
import { encodeExtensions, type NewExtension, readExtensions, type X509Extension } from './extension.js';
import { type DistinguishedName, encodeName, type NameAttribute, readName } from './name.js';
import { encodePublicKey, readPublicKey, type X509PublicKey } from './public-key.js';
import {
  amdSignatureAlgorithm,
  encodeSignatureAlgorithm,
  type RsaPssAlgorithm,
  readOuterAlgorithm,
  readSignatureAlgorithm,
  type SignedObject,
} from './signature-algorithm.js';
import { derTime, readTime } from './time.js';

/** AMD's are below 2 KiB. */
export const maximumCertificateSize = 16384;
/** Content octets of a serial number (RFC 5280 section 4.1.2.2). */
export const maximumSerialLength = 20;

/** A version 3 certificate (RFC 5280 section 4.1). */
export interface X509Certificate extends SignedObject {
  readonly serial: bigint;
  readonly issuer: DistinguishedName;
  readonly subject: DistinguishedName;
  /** First moment of validity, milliseconds since 1970. */
  readonly notBefore: number;
  /** Last moment of validity, milliseconds since 1970. */
  readonly notAfter: number;
  readonly publicKey: X509PublicKey;
  /** In their order. One that occurs twice stands here twice, for a check to refuse. */
  readonly extensions: readonly X509Extension[];
  /** TBSCertificate: what the signature covers. */
  readonly signedBytes: Uint8Array;
  /** The whole certificate. */
  readonly raw: Uint8Array;
}

/**
 * Reads a certificate in DER, strictly: every deviation from DER and from version 3 is refused, but for a default that
 * AMD spells out (see {@link readSignatureAlgorithm}). Nothing is verified.
 * @throws MalformedError naming the field and its offset
 */
export function parseCertificate(bytes: Uint8Array, location: Location = { offset: 0 }): X509Certificate {
  const raw = new Uint8Array(bytes);
  const context = {
    structure: location.path ?? 'X.509 certificate',
    offset: location.offset,
    maximumSize: maximumCertificateSize,
  };
  return readDer(raw, context, (reader) =>
    reader.sequence('certificate', (certificate) => {
      const { algorithm, ...fields } = certificate.sequence('tbsCertificate', readSignedPart);
      readOuterAlgorithm(certificate, 'signatureAlgorithm', algorithm);
      return { ...fields, signature: certificate.octetsOfBitString('signatureValue').bytes, raw };
    }),
  );
}

function readSignedPart(reader: DerReader, whole: DerElement) {
  readVersion(reader);
  const serial = reader.integer('serialNumber', maximumSerialLength);
  const [signatureAlgorithm, algorithm] = readSignatureAlgorithm(reader, 'signature');
  return {
    serial,
    signatureAlgorithm,
    algorithm,
    issuer: readName(reader, 'issuer'),
    ...reader.sequence('validity', (validity) => ({
      notBefore: readTime(validity, 'notBefore'),
      notAfter: readTime(validity, 'notAfter'),
    })),
    subject: readName(reader, 'subject'),
    publicKey: readPublicKey(reader, 'subjectPublicKeyInfo'),
    extensions: reader.follows(extensionsTag)
      ? reader.nested('extensions', extensionsTag, (inner) => readExtensions(inner, 'list'))
      : [],
    signedBytes: whole.raw,
  };
}

const versionTag = contextTag(0, 'constructed');
const extensionsTag = contextTag(3, 'constructed');
const version3 = 2;

function readVersion(reader: DerReader): void {
  reader.nested('version', versionTag, (inner, element) => {
    const version = inner.integer('value', 1);
    if (version !== BigInt(version3))
      throw reader.refuse('version', element, 'version 3, which is written 2', `${version}`);
  });
}

export interface NewCertificate {
  readonly serial: bigint;
  readonly issuer: readonly NameAttribute[];
  readonly subject: readonly NameAttribute[];
  /** Milliseconds since 1970, whole seconds. */
  readonly notBefore: number;
  /** Milliseconds since 1970, whole seconds. */
  readonly notAfter: number;
  readonly publicKey: X509PublicKey;
  readonly extensions: readonly NewExtension[];
  /** Left out, AMD's. */
  readonly signatureAlgorithm?: RsaPssAlgorithm;
}

/** Signs bytes with the issuer's key, by the algorithm that the object names. */
export type IssuerSignature = (signedBytes: Uint8Array) => Uint8Array | Promise<Uint8Array>;

/**
 * A certificate in DER, signed by the issuer's key.
 * @throws InvalidArgumentError when a field cannot be encoded
 */
export async function encodeCertificate(values: NewCertificate, sign: IssuerSignature): Promise<Uint8Array> {
  const algorithm = encodeSignatureAlgorithm(values.signatureAlgorithm ?? amdSignatureAlgorithm);
  const signedPart = derSequence(
    derElement(versionTag, derInteger(version3)),
    derInteger(values.serial),
    algorithm,
    encodeName(values.issuer),
    derSequence(derTime(values.notBefore), derTime(values.notAfter)),
    encodeName(values.subject),
    encodePublicKey(values.publicKey),
    ...(values.extensions.length === 0
      ? []
      : [derElement(extensionsTag, encodeExtensions(values.extensions))]),
  );
  return encodeSigned(signedPart, algorithm, sign);
}

/** A signed part with its algorithm and signature: the outer structure of certificates and lists. */
export async function encodeSigned(
  signedPart: Uint8Array,
  algorithm: Uint8Array,
  sign: IssuerSignature,
): Promise<Uint8Array> {
  return derSequence(signedPart, algorithm, derBitString(await sign(signedPart)));
}
