import { constants, sign } from 'node:crypto';
import { beforeAll, describe, expect, test } from 'vitest';
import { toHex } from '../bytes.js';
import * as node from '../crypto/node.js';
import * as web from '../crypto/web.js';
import { InvalidArgumentError, MalformedError } from '../errors.js';
import { type CaKey, generateCaKey } from '../testing/development-platform.js';
import { DerReader } from './der.js';
import { contextTag, tags } from './der-tags.js';
import { derElement, derInteger, derNull, derOid, derSequence } from './der-writer.js';
import { oids } from './oid.js';
import {
  amdSignatureAlgorithm,
  encodeSignatureAlgorithm,
  isSignedWith,
  type RsaPssAlgorithm,
  readSignatureAlgorithm,
  type SignatureAlgorithm,
  sameAlgorithm,
  signatureAlgorithmText,
} from './signature-algorithm.js';

const read = (bytes: Uint8Array) =>
  readSignatureAlgorithm(new DerReader(bytes, { structure: 'thing' }), 'a')[0];
const hash = (oid: string, ...parameters: Uint8Array[]) => derSequence(derOid(oid), ...parameters);
const explicit = (number: number, content: Uint8Array) =>
  derElement(contextTag(number, 'constructed'), content);
const pss = (...parameters: Uint8Array[]) => derSequence(derOid(oids.rsassaPss), derSequence(...parameters));
const sha384 = hash(oids.sha384, derNull());
const mask = derSequence(derOid(oids.mgf1), sha384);

describe('RSASSA-PSS', () => {
  const amd = [explicit(0, sha384), explicit(1, mask), explicit(2, derInteger(48))];

  test('reads as AMD writes it, with the trailer spelled out or not', () => {
    expect(read(pss(...amd))).toEqual(amdSignatureAlgorithm);
    expect(read(pss(...amd, explicit(3, derInteger(1))))).toEqual(amdSignatureAlgorithm);
    expect(toHex(encodeSignatureAlgorithm(amdSignatureAlgorithm))).toBe(toHex(pss(...amd)));
  });

  test('a hash may be without parameters', () => {
    expect(read(pss(explicit(0, hash(oids.sha384)), ...amd.slice(1)))).toEqual(amdSignatureAlgorithm);
  });

  test('has the defaults of RFC 4055', () => {
    const defaults = { name: 'RSASSA-PSS', hash: 'SHA-1', maskHash: 'SHA-1', saltLength: 20, trailer: 1 };
    expect(read(pss())).toEqual(defaults);
  });

  test('names what we do not verify with', () => {
    const strange = pss(explicit(0, hash(oids.sha512)), explicit(1, derSequence(derOid('1.2.3'), derNull())));
    expect(read(strange)).toMatchObject({ hash: `sha512 (${oids.sha512})`, maskHash: 'not MGF1 but 1.2.3' });
    expect(read(derSequence(derOid('1.2.840.113549.1.1.12'), derNull()))).toEqual({
      name: 'other',
      oid: '1.2.840.113549.1.1.12',
    });
    expect(read(derSequence(derOid('1.3.101.112')))).toEqual({ name: 'other', oid: '1.3.101.112' });
  });

  test.each([
    ['parameters in another order', pss(amd[1]!, amd[0]!, amd[2]!)],
    ['a parameter twice', pss(...amd, amd[2]!)],
    ['an unknown parameter', pss(...amd, explicit(4, derInteger(1)))],
    ['no parameters', derSequence(derOid(oids.rsassaPss))],
    ['more than parameters', derSequence(derOid(oids.rsassaPss), derSequence(), derNull())],
    ['a hash with other parameters', pss(explicit(0, hash(oids.sha384, derInteger(0))))],
    ['two values in one tag', pss(explicit(2, new Uint8Array([...derInteger(48), ...derInteger(48)])))],
    ['a salt of three octets', pss(explicit(2, derInteger(65536)))],
    ['a salt below zero', pss(explicit(2, derElement(tags.integer, Uint8Array.of(0xff))))],
    ['a mask function with more', pss(explicit(1, derSequence(derOid(oids.mgf1), sha384, derNull())))],
    ['another algorithm with more', derSequence(derOid('1.2.3'), derNull(), derNull())],
    ['another mask with more', pss(explicit(1, derSequence(derOid('1.2.3'), derNull(), derNull())))],
  ])('is refused with %s', (_, bytes) => {
    expect(() => read(bytes)).toThrow(MalformedError);
  });

  test('every parameter is written and compared', () => {
    const others: RsaPssAlgorithm[] = [
      { ...amdSignatureAlgorithm, hash: 'SHA-256' },
      { ...amdSignatureAlgorithm, maskHash: 'SHA-256' },
      { ...amdSignatureAlgorithm, saltLength: 20 },
      { ...amdSignatureAlgorithm, trailer: 2 },
    ];
    for (const other of others) {
      expect(read(encodeSignatureAlgorithm(other))).toEqual(other);
      expect(sameAlgorithm(other, amdSignatureAlgorithm)).toBe(false);
    }
    expect(sameAlgorithm({ ...amdSignatureAlgorithm }, amdSignatureAlgorithm)).toBe(true);
    expect(sameAlgorithm({ name: 'other', oid: oids.rsassaPss }, amdSignatureAlgorithm)).toBe(false);
    expect(() => encodeSignatureAlgorithm({ ...amdSignatureAlgorithm, hash: 'MD5' })).toThrow(
      InvalidArgumentError,
    );
  });

  test('is told in words', () => {
    expect(signatureAlgorithmText(amdSignatureAlgorithm)).toBe(
      'RSASSA-PSS with SHA-384, MGF1 with SHA-384, salt 48 bytes, trailer 1',
    );
    expect(signatureAlgorithmText({ name: 'other', oid: '1.2.3' })).toBe('1.2.3');
  });
});

describe('a signature', () => {
  const signedBytes = new TextEncoder().encode('what was signed');
  let key: CaKey;
  beforeAll(() => {
    key = generateCaKey(2048);
  });
  const signed = (hashName: string, saltLength: number) =>
    new Uint8Array(
      sign(hashName, signedBytes, {
        key: key.privateKey,
        padding: constants.RSA_PKCS1_PSS_PADDING,
        saltLength,
      }),
    );
  const check = (signatureAlgorithm: SignatureAlgorithm, signature: Uint8Array) =>
    isSignedWith({ signedBytes, signatureAlgorithm, signature }, key);
  const with256 = { ...amdSignatureAlgorithm, hash: 'SHA-256', maskHash: 'SHA-256', saltLength: 32 };

  test('is good by the parameters that are named, and by no others', async () => {
    const signature = signed('sha384', 48);
    expect(await check(amdSignatureAlgorithm, signature)).toBe(true);
    expect(await check(with256, signed('sha256', 32))).toBe(true);
    expect(await check(with256, signature)).toBe(false);
    expect(await check({ ...amdSignatureAlgorithm, maskHash: 'SHA-256' }, signature)).toBe(false);
    expect(await check({ ...amdSignatureAlgorithm, saltLength: 47 }, signature)).toBe(false);
    expect(await check({ ...amdSignatureAlgorithm, trailer: 2 }, signature)).toBe(false);
    expect(await check({ ...amdSignatureAlgorithm, hash: 'SHA-1', maskHash: 'SHA-1' }, signature)).toBe(
      false,
    );
    expect(await check({ name: 'other', oid: '1.2.840.113549.1.1.12' }, signature)).toBe(false);
    expect(await check(amdSignatureAlgorithm, signed('sha384', 0))).toBe(false);
    expect(await check(amdSignatureAlgorithm, signature.subarray(1))).toBe(false);
    expect(await check(amdSignatureAlgorithm, new Uint8Array(0))).toBe(false);
  });

  test('is the same to both ports', async () => {
    const good = signed('sha384', 48);
    const bad = good.map((byte, i) => (i === 100 ? byte ^ 1 : byte));
    for (const port of [node, web]) {
      expect(await port.verifyRsaPss(key, 'sha384', signedBytes, good)).toBe(true);
      expect(await port.verifyRsaPss(key, 'sha384', signedBytes, bad)).toBe(false);
      expect(await port.verifyRsaPss(key, 'sha384', signedBytes, signed('sha384', 32))).toBe(false);
    }
  });
});
