import { equalBytes } from '../bytes.js';
import { type HashName, type RsaPublicKey, verifyRsaPss } from '../crypto/index.js';
import { InvalidArgumentError } from '../errors.js';
import type { DerReader } from './der.js';
import { contextTag } from './der-tags.js';
import { derElement, derInteger, derNull, derOid, derSequence } from './der-writer.js';
import { oidName, oids } from './oid.js';

/** RSASSA-PSS with its parameters (RFC 4055 section 3.1). A hash without a name of ours is a dotted identifier. */
export interface RsaPssAlgorithm {
  readonly name: 'RSASSA-PSS';
  readonly hash: string;
  /** Of the mask generation function MGF1. */
  readonly maskHash: string;
  /** Bytes. */
  readonly saltLength: number;
  readonly trailer: number;
}

/** Any other algorithm, by its dotted object identifier: named, and never verified with. */
export interface OtherAlgorithm {
  readonly name: 'other';
  readonly oid: string;
}

export type SignatureAlgorithm = RsaPssAlgorithm | OtherAlgorithm;

/** What AMD signs every certificate and list with. Source: AMD's certificates. */
export const amdSignatureAlgorithm: RsaPssAlgorithm = {
  name: 'RSASSA-PSS',
  hash: 'SHA-384',
  maskHash: 'SHA-384',
  saltLength: 48,
  trailer: 1,
};

/** Those that a verification may use, with their digests' lengths. */
const usable: readonly {
  readonly name: string;
  readonly hash: HashName;
  readonly oid: string;
  readonly size: number;
}[] = [
  { name: 'SHA-256', hash: 'sha256', oid: oids.sha256, size: 32 },
  { name: 'SHA-384', hash: 'sha384', oid: oids.sha384, size: 48 },
];

/**
 * Reads an AlgorithmIdentifier. Of RSASSA-PSS every parameter is read, absent ones by their defaults. AMD's older
 * certificates spell out the trailer's default, which DER forbids; both forms are taken, as the signature covers them.
 */
export function readSignatureAlgorithm(
  reader: DerReader,
  field: string,
): [SignatureAlgorithm, raw: Uint8Array] {
  return reader.sequence(field, (algorithm, { raw }) => [readAlgorithm(algorithm), raw]);
}

function readAlgorithm(algorithm: DerReader): SignatureAlgorithm {
  const oid = algorithm.oid('algorithm');
  if (oid !== oids.rsassaPss) {
    if (algorithm.follows()) algorithm.element('parameters');
    return { name: 'other', oid };
  }
  return algorithm.sequence('parameters', (parameters) => ({
    name: 'RSASSA-PSS',
    hash: optional(parameters, 0, 'hashAlgorithm', readHash) ?? 'SHA-1',
    maskHash: optional(parameters, 1, 'maskGenAlgorithm', readMask) ?? 'SHA-1',
    saltLength: Number(optional(parameters, 2, 'saltLength', readSmall) ?? 20n),
    trailer: Number(optional(parameters, 3, 'trailerField', readSmall) ?? 1n),
  }));
}

function optional<T>(
  reader: DerReader,
  number: number,
  field: string,
  read: (reader: DerReader, field: string) => T,
): T | undefined {
  const tag = contextTag(number, 'constructed');
  return reader.follows(tag) ? reader.nested(field, tag, (inner) => read(inner, 'value')) : undefined;
}

const readSmall = (reader: DerReader, field: string) => reader.integer(field, 2);

function readHash(reader: DerReader, field: string): string {
  return reader.sequence(field, (hash) => {
    const oid = hash.oid('algorithm');
    if (hash.follows()) hash.null('parameters');
    return usable.find((each) => each.oid === oid)?.name ?? oidName(oid);
  });
}

function readMask(reader: DerReader, field: string): string {
  return reader.sequence(field, (mask) => {
    const oid = mask.oid('algorithm');
    if (oid === oids.mgf1) return readHash(mask, 'parameters');
    if (mask.follows()) mask.element('parameters');
    return `not MGF1 but ${oidName(oid)}`;
  });
}

/** The AlgorithmIdentifier of RSASSA-PSS, in DER: defaults are left out. @throws InvalidArgumentError */
export function encodeSignatureAlgorithm(algorithm: RsaPssAlgorithm): Uint8Array {
  const hash = derSequence(derOid(known(algorithm.hash).oid), derNull());
  const mask = derSequence(derOid(oids.mgf1), derSequence(derOid(known(algorithm.maskHash).oid), derNull()));
  const explicit = (number: number, content: Uint8Array) =>
    derElement(contextTag(number, 'constructed'), content);
  const parameters = derSequence(
    explicit(0, hash),
    explicit(1, mask),
    ...(algorithm.saltLength === 20 ? [] : [explicit(2, derInteger(algorithm.saltLength))]),
    ...(algorithm.trailer === 1 ? [] : [explicit(3, derInteger(algorithm.trailer))]),
  );
  return derSequence(derOid(oids.rsassaPss), parameters);
}

function known(name: string) {
  const found = usable.find((each) => each.name === name);
  if (found === undefined) throw new InvalidArgumentError('hash', `${name} is none that we sign with`);
  return found;
}

/** For people: `RSASSA-PSS with SHA-384, MGF1 with SHA-384, salt 48 bytes, trailer 1`. */
export function signatureAlgorithmText(algorithm: SignatureAlgorithm): string {
  if (algorithm.name === 'other') return oidName(algorithm.oid);
  const { name, hash, maskHash, saltLength, trailer } = algorithm;
  return `${name} with ${hash}, MGF1 with ${maskHash}, salt ${saltLength} bytes, trailer ${trailer}`;
}

/** What an issuer signed: the bytes, its signature, and the algorithm that it names. */
export interface SignedObject {
  readonly signedBytes: Uint8Array;
  readonly signatureAlgorithm: SignatureAlgorithm;
  /** As long as the signer's modulus, big-endian. */
  readonly signature: Uint8Array;
}

/**
 * Whether `key` made the signature, by the parameters that the object names. False for every algorithm but RSASSA-PSS
 * with SHA-256 or SHA-384 throughout and a salt as long as the digest.
 */
export async function isSignedWith(object: SignedObject, key: RsaPublicKey): Promise<boolean> {
  const { signatureAlgorithm, signature } = object;
  const found = usable.find(({ name, size }) => {
    const only = { name: 'RSASSA-PSS', hash: name, maskHash: name, saltLength: size, trailer: 1 } as const;
    return sameAlgorithm(signatureAlgorithm, only);
  });
  if (found === undefined) return false;
  return verifyRsaPss(key, found.hash, object.signedBytes, signature);
}

/** Whether two algorithms are the same in every parameter. */
export function sameAlgorithm(a: SignatureAlgorithm, b: SignatureAlgorithm): boolean {
  return signatureAlgorithmText(a) === signatureAlgorithmText(b);
}

/** Reads the outer AlgorithmIdentifier, which must repeat the inner one byte by byte (RFC 5280 section 4.1.1.2). */
export function readOuterAlgorithm(reader: DerReader, field: string, inner: Uint8Array): void {
  const outer = reader.element(field);
  if (!equalBytes(outer.raw, inner))
    throw reader.refuse(field, outer, 'the algorithm that the signed part names', 'another');
}
