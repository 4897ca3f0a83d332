import { concat } from '../bytes.js';
import { type DerReader, readDer } from './der.js';
import { contextTag, tags } from './der-tags.js';
import {
  derBitString,
  derBoolean,
  derElement,
  derInteger,
  derOctetString,
  derSequence,
  derText,
} from './der-writer.js';
import type { NewExtension, X509Extension } from './extension.js';
import { oids } from './oid.js';
import { derTextOf } from './text.js';

/** Key usages (RFC 5280 section 4.2.1.3) in the order of their bits. */
export const x509KeyUsages = [
  'digitalSignature',
  'nonRepudiation',
  'keyEncipherment',
  'dataEncipherment',
  'keyAgreement',
  'keyCertSign',
  'cRLSign',
  'encipherOnly',
  'decipherOnly',
] as const;
export type X509KeyUsage = (typeof x509KeyUsages)[number];

export interface BasicConstraints {
  readonly ca: boolean;
  readonly pathLength: number | undefined;
}

const maximumUris = 8;
const maximumKeyId = 64;

/** @throws MalformedError */
export function parseBasicConstraints(extension: X509Extension): BasicConstraints {
  return read(extension, 'basicConstraints', (reader) =>
    reader.sequence('basicConstraints', (constraints) => {
      const ca = constraints.follows(tags.boolean) && constraints.boolean('cA');
      const limited = constraints.follows();
      return { ca, pathLength: limited ? Number(constraints.integer('pathLenConstraint', 2)) : undefined };
    }),
  );
}

/**
 * The usages of a key. AMD's ASKs carry a zero bit more than DER allows (`03 02 01 04`); it is taken.
 * @throws MalformedError
 */
export function parseKeyUsage(extension: X509Extension): X509KeyUsage[] {
  return read(extension, 'keyUsage', (reader) => {
    const { bytes } = reader.bitString('keyUsage');
    if (bytes.length > 2) throw reader.malformed('keyUsage', 'at most 9 bits', `${bytes.length} octets`, 0);
    return x509KeyUsages.filter((_, bit) => ((bytes[bit >> 3] ?? 0) & (0x80 >> (bit & 7))) !== 0);
  });
}

/** @throws MalformedError */
export function parseSubjectKeyId(extension: X509Extension): Uint8Array {
  return read(extension, 'subjectKeyIdentifier', (reader) => keyId(reader, tags.octetString));
}

/**
 * The key id of an authority key identifier. Its other forms, issuer and serial, AMD does not use: they are refused.
 * @throws MalformedError
 */
export function parseAuthorityKeyId(extension: X509Extension): Uint8Array {
  return read(extension, 'authorityKeyIdentifier', (reader) =>
    reader.sequence('authorityKeyIdentifier', (inner) => keyId(inner, contextTag(0, 'primitive'))),
  );
}

/**
 * The addresses of CRL distribution points; each point is named by URIs alone.
 * @throws MalformedError
 */
export function parseCrlDistributionPoints(extension: X509Extension): string[] {
  return read(extension, 'cRLDistributionPoints', (reader) =>
    reader.sequence('cRLDistributionPoints', (points) =>
      points.each('point', maximumUris, (each, name) => each.sequence(name, readDistributionPoint)).flat(),
    ),
  );
}

/** A DistributionPointName under `[0]`, as full name. */
export function readDistributionPoint(reader: DerReader): string[] {
  const constructed = contextTag(0, 'constructed');
  return reader.nested('distributionPoint', constructed, (name) =>
    name.nested('fullName', constructed, (uris) => uris.each('uri', maximumUris, readUri)),
  );
}

function readUri(reader: DerReader, field: string): string {
  const element = reader.element(field, contextTag(6, 'primitive'));
  const text = derTextOf({ tag: tags.ia5String, content: element.content });
  if (text === undefined) throw reader.refuse(field, element, 'a URI in ASCII', 'other bytes');
  return text;
}

function keyId(reader: DerReader, tag: number): Uint8Array {
  const element = reader.element('keyIdentifier', tag);
  const { length } = element.content;
  if (length === 0 || length > maximumKeyId)
    throw reader.refuse('keyIdentifier', element, `1 to ${maximumKeyId} bytes`, `${length}`);
  return element.content;
}

function read<T>(extension: X509Extension, structure: string, work: (reader: DerReader) => T): T {
  const { value, offset } = extension;
  return readDer(value, { structure, offset, maximumSize: 4096 }, work);
}

export function basicConstraintsExtension({ ca, pathLength }: BasicConstraints): NewExtension {
  const fields = [
    ...(ca ? [derBoolean(true)] : []),
    ...(pathLength === undefined ? [] : [derInteger(pathLength)]),
  ];
  return { oid: oids.basicConstraints, critical: true, value: derSequence(...fields) };
}

export function keyUsageExtension(names: readonly X509KeyUsage[]): NewExtension {
  const bits = names.map((name) => x509KeyUsages.indexOf(name));
  const last = Math.max(...bits);
  const bytes = new Uint8Array((last >> 3) + 1);
  for (const bit of bits) bytes[bit >> 3]! |= 0x80 >> (bit & 7);
  return { oid: oids.keyUsage, critical: true, value: derBitString(bytes, 7 - (last & 7)) };
}

export function subjectKeyIdExtension(id: Uint8Array): NewExtension {
  return { oid: oids.subjectKeyIdentifier, value: derOctetString(id) };
}

export function authorityKeyIdExtension(id: Uint8Array): NewExtension {
  const value = derSequence(derElement(contextTag(0, 'primitive'), id));
  return { oid: oids.authorityKeyIdentifier, value };
}

export function crlDistributionPointsExtension(uris: readonly string[]): NewExtension {
  const points = uris.map((uri) => derSequence(distributionPoint([uri])));
  return { oid: oids.crlDistributionPoints, value: derSequence(...points) };
}

/** A DistributionPointName under `[0]`. */
export function distributionPoint(uris: readonly string[]): Uint8Array {
  const constructed = contextTag(0, 'constructed');
  const names = uris.map((uri) => derText(contextTag(6, 'primitive'), uri));
  return derElement(constructed, derElement(constructed, concat(...names)));
}
