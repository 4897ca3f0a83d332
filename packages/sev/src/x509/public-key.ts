import { concat } from '../bytes.js';
import type { P384PublicKey, RsaPublicKey } from '../crypto/index.js';
import type { DerReader } from './der.js';
import { derBitString, derInteger, derNull, derOid, derSequence } from './der-writer.js';
import { oidName, oids } from './oid.js';

export type X509PublicKey = RsaPublicKey | P384PublicKey;

/** Content octets: nobody's keys are longer than 8192 bits, and more would only cost time. */
const maximumModulus = 1025;
const maximumExponent = 8;
/** `04` for an uncompressed point (SEC 1 section 2.3.3), then both coordinates. */
const uncompressed = 0x04;
const coordinate = 48;

/** Reads a SubjectPublicKeyInfo with an RSA key or a point of P-384: AMD has no others. */
export function readPublicKey(reader: DerReader, field: string): X509PublicKey {
  return reader.sequence(field, (info): X509PublicKey => {
    const kind = info.sequence('algorithm', (identifier) => {
      const oid = identifier.oid('algorithm');
      if (oid === oids.rsaEncryption) {
        identifier.null('parameters');
        return 'RSA';
      }
      const curve = oid === oids.ecPublicKey ? identifier.oid('parameters') : undefined;
      if (curve === oids.secp384r1) return 'P-384';
      const found = [oid, ...(curve === undefined ? [] : [curve])].map(oidName).join(' with ');
      throw identifier.malformed('algorithm', 'rsaEncryption, or ecPublicKey with secp384r1', found, 0);
    });
    return kind === 'RSA' ? info.encapsulated('subjectPublicKey', 'bitString', readRsaKey) : readPoint(info);
  });
}

function readRsaKey(reader: DerReader): RsaPublicKey {
  return reader.sequence('rsaPublicKey', (key) => ({
    modulus: key.integerBytes('modulus', maximumModulus),
    exponent: key.integerBytes('publicExponent', maximumExponent),
  }));
}

function readPoint(info: DerReader): P384PublicKey {
  const { element, bytes } = info.octetsOfBitString('subjectPublicKey');
  if (bytes.length !== 1 + 2 * coordinate || bytes[0] !== uncompressed) {
    const found = `${bytes.length} bytes that begin ${bytes[0]?.toString(16) ?? 'nowhere'}`;
    throw info.refuse('subjectPublicKey', element, 'an uncompressed point: 04 and 96 bytes', found);
  }
  return { x: bytes.subarray(1, 1 + coordinate), y: bytes.subarray(1 + coordinate) };
}

/** The SubjectPublicKeyInfo of a key. */
export function encodePublicKey(key: X509PublicKey): Uint8Array {
  if ('modulus' in key) {
    const algorithm = derSequence(derOid(oids.rsaEncryption), derNull());
    const bits = derSequence(derInteger(key.modulus), derInteger(key.exponent));
    return derSequence(algorithm, derBitString(bits));
  }
  const algorithm = derSequence(derOid(oids.ecPublicKey), derOid(oids.secp384r1));
  return derSequence(algorithm, derBitString(concat(Uint8Array.of(uncompressed), key.x, key.y)));
}

/** For people and for comparison: `RSA 4096 bits, exponent 65537` or `P-384`. */
export function publicKeyText(key: X509PublicKey): string {
  if ('x' in key) return 'P-384';
  const exponent = key.exponent.reduce((value, octet) => value * 256n + BigInt(octet), 0n);
  return rsaKeyText(rsaModulusBits(key), exponent);
}

export function rsaKeyText(bits: number, exponent: bigint | number): string {
  return `RSA ${bits} bits, exponent ${exponent}`;
}

/** The length of an RSA modulus, leading zeros not counted. */
export function rsaModulusBits({ modulus }: RsaPublicKey): number {
  const first = modulus.findIndex((octet) => octet !== 0);
  return first < 0 ? 0 : 8 * (modulus.length - first) - (Math.clz32(modulus[first]!) - 24);
}
