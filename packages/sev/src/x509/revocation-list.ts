import type { Location } from '../codec/index.js';
import { distributionPoint, readDistributionPoint } from './ca-extensions.js';
import { encodeSigned, type IssuerSignature, maximumSerialLength } from './certificate.js';
import { type DerElement, type DerReader, readDer } from './der.js';
import { contextTag, tags } from './der-tags.js';
import { derElement, derInteger, derSequence } from './der-writer.js';
import { encodeExtensions, type NewExtension, readExtensions, type X509Extension } from './extension.js';
import { type DistinguishedName, encodeName, type NameAttribute, readName } from './name.js';
import { oids } from './oid.js';
import {
  amdSignatureAlgorithm,
  encodeSignatureAlgorithm,
  type RsaPssAlgorithm,
  readOuterAlgorithm,
  readSignatureAlgorithm,
  type SignedObject,
} from './signature-algorithm.js';
import { derTime, readTime } from './time.js';

/** AMD revokes a handful of signing keys, not chips. */
export const maximumRevocationListSize = 262144;
const maximumRevoked = 4096;

export interface RevokedCertificate {
  readonly serial: bigint;
  /** Milliseconds since 1970. */
  readonly revokedAt: number;
  readonly extensions: readonly X509Extension[];
}

/** A certificate revocation list (RFC 5280 section 5.1). */
export interface X509RevocationList extends SignedObject {
  readonly issuer: DistinguishedName;
  /** Milliseconds since 1970. */
  readonly thisUpdate: number;
  /** Milliseconds since 1970; undefined where the list does not say when it grows stale. */
  readonly nextUpdate: number | undefined;
  readonly revoked: readonly RevokedCertificate[];
  /** In their order. One that occurs twice stands here twice, for a check to refuse. */
  readonly extensions: readonly X509Extension[];
  /** TBSCertList: what the signature covers. */
  readonly signedBytes: Uint8Array;
  /** The whole list. */
  readonly raw: Uint8Array;
}

/**
 * Reads a revocation list in DER, strictly, of version 1 or 2. Nothing is verified.
 * @throws MalformedError naming the field and its offset
 */
export function parseRevocationList(
  bytes: Uint8Array,
  location: Location = { offset: 0 },
): X509RevocationList {
  const raw = new Uint8Array(bytes);
  const context = {
    structure: location.path ?? 'revocation list',
    offset: location.offset,
    maximumSize: maximumRevocationListSize,
  };
  return readDer(raw, context, (reader) =>
    reader.sequence('certificateList', (list) => {
      const { algorithm, ...fields } = list.sequence('tbsCertList', readSignedPart);
      readOuterAlgorithm(list, 'signatureAlgorithm', algorithm);
      return { ...fields, signature: list.octetsOfBitString('signatureValue').bytes, raw };
    }),
  );
}

const version2 = 1;
const extensionsTag = contextTag(0, 'constructed');

function readSignedPart(reader: DerReader, whole: DerElement) {
  const version = reader.follows(tags.integer) ? reader.integer('version', 1) : 0n;
  if (version !== 0n && version !== BigInt(version2))
    throw reader.malformed('version', 'version 2, which is written 1', `${version}`, 0);
  const [signatureAlgorithm, algorithm] = readSignatureAlgorithm(reader, 'signature');
  return {
    signatureAlgorithm,
    algorithm,
    issuer: readName(reader, 'issuer'),
    thisUpdate: readTime(reader, 'thisUpdate'),
    nextUpdate:
      reader.follows(tags.utcTime) || reader.follows(tags.generalizedTime)
        ? readTime(reader, 'nextUpdate')
        : undefined,
    revoked: reader.follows(tags.sequence) ? readRevoked(reader) : [],
    extensions: reader.follows(extensionsTag)
      ? reader.nested('crlExtensions', extensionsTag, (inner) => readExtensions(inner, 'list'))
      : [],
    signedBytes: whole.raw,
  };
}

function readRevoked(reader: DerReader): RevokedCertificate[] {
  return reader.sequence('revokedCertificates', (list) =>
    list.each('revoked', maximumRevoked, (each, name) =>
      each.sequence(name, (entry) => ({
        serial: entry.integer('userCertificate', maximumSerialLength),
        revokedAt: readTime(entry, 'revocationDate'),
        extensions: entry.follows() ? readExtensions(entry, 'crlEntryExtensions') : [],
      })),
    ),
  );
}

/** What a list says about its own scope (RFC 5280 section 5.2.5). */
export interface ListScope {
  /** Addresses of the distribution point that it was made for; empty when it names none. */
  readonly uris: readonly string[];
  /** It covers certificates of authorities only: all that AMD's lists are about. */
  readonly authoritiesOnly: boolean;
}

/**
 * Reads an issuing distribution point. Narrower scopes than those of {@link ListScope}, such as certain reasons or other
 * issuers, would make a list that misses what it should name: they are refused.
 * @throws MalformedError
 */
export function parseListScope(extension: X509Extension): ListScope {
  const { value, offset } = extension;
  const context = { structure: 'issuingDistributionPoint', offset, maximumSize: 4096 };
  const authorities = contextTag(2, 'primitive');
  return readDer(value, context, (reader) =>
    reader.sequence('issuingDistributionPoint', (point) => ({
      uris: point.follows(contextTag(0, 'constructed')) ? readDistributionPoint(point) : [],
      authoritiesOnly: point.follows(authorities) && point.boolean('onlyContainsCACerts', authorities),
    })),
  );
}

export function issuingDistributionPointExtension({ uris, authoritiesOnly }: ListScope): NewExtension {
  const fields = [
    ...(uris.length === 0 ? [] : [distributionPoint(uris)]),
    ...(authoritiesOnly ? [derElement(contextTag(2, 'primitive'), Uint8Array.of(0xff))] : []),
  ];
  return { oid: oids.issuingDistributionPoint, critical: true, value: derSequence(...fields) };
}

export interface NewRevocationList {
  readonly issuer: readonly NameAttribute[];
  /** Milliseconds since 1970, whole seconds. */
  readonly thisUpdate: number;
  /** Milliseconds since 1970, whole seconds. */
  readonly nextUpdate?: number;
  readonly revoked: readonly { readonly serial: bigint; readonly revokedAt: number }[];
  readonly extensions?: readonly NewExtension[];
  /** Left out, AMD's. */
  readonly signatureAlgorithm?: RsaPssAlgorithm;
}

/**
 * A revocation list of version 2 in DER, signed by the issuer's key.
 * @throws InvalidArgumentError when a field cannot be encoded
 */
export async function encodeRevocationList(
  values: NewRevocationList,
  sign: IssuerSignature,
): Promise<Uint8Array> {
  const algorithm = encodeSignatureAlgorithm(values.signatureAlgorithm ?? amdSignatureAlgorithm);
  const entries = values.revoked.map(({ serial, revokedAt }) =>
    derSequence(derInteger(serial), derTime(revokedAt)),
  );
  const extensions = values.extensions ?? [];
  const signedPart = derSequence(
    derInteger(version2),
    algorithm,
    encodeName(values.issuer),
    derTime(values.thisUpdate),
    ...(values.nextUpdate === undefined ? [] : [derTime(values.nextUpdate)]),
    ...(entries.length === 0 ? [] : [derSequence(...entries)]),
    ...(extensions.length === 0 ? [] : [derElement(extensionsTag, encodeExtensions(extensions))]),
  );
  return encodeSigned(signedPart, algorithm, sign);
}

/** A list's number (RFC 5280 section 5.2.3). */
export function crlNumberExtension(number: bigint | number): NewExtension {
  return { oid: oids.crlNumber, value: derInteger(number) };
}
