import { X509Certificate as NodeCertificate } from 'node:crypto';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { concat, equalBytes, fromHex, toHex } from '../bytes.js';
import { InvalidArgumentError, MalformedError } from '../errors.js';
import { contentOf, elementsOf, replaced } from '../testing/der-edit.js';
import { day, makeEndorser, type TestEndorser, testEndorserKeys } from '../testing/endorsements.js';
import { byteChange, changed } from '../testing/mutations.js';
import { describeWithVectors, vectors } from '../testing/vectors.js';
import {
  encodeCertificate,
  type NewCertificate,
  parseCertificate,
  type X509Certificate,
} from './certificate.js';
import { contextTag, tags } from './der-tags.js';
import {
  derBoolean,
  derElement,
  derInteger,
  derNull,
  derOctetString,
  derOid,
  derSequence,
} from './der-writer.js';
import { readCertificates } from './files.js';
import { nameText } from './name.js';
import { oids } from './oid.js';
import { encodePem } from './pem.js';

let endorser: TestEndorser;
let vcek: X509Certificate;
beforeAll(async () => {
  endorser = await makeEndorser('Milan', testEndorserKeys());
  vcek = await endorser.vek('VCEK');
});

/** Node's reading of a certificate, in our words. */
function asNodeReads(der: Uint8Array) {
  const node = new NodeCertificate(der);
  const name = (text: string) => text.split('\n').join(', ');
  const { n, e, x, y } = node.publicKey.export({ format: 'jwk' });
  const hex = (text: string | undefined) => Buffer.from(text ?? '', 'base64url').toString('hex');
  return {
    serial: BigInt(`0x${node.serialNumber}`),
    issuer: name(node.issuer),
    subject: name(node.subject),
    notBefore: Date.parse(node.validFrom),
    notAfter: Date.parse(node.validTo),
    key: n === undefined ? [hex(x), hex(y)] : [hex(n), hex(e)],
    fingerprint: node.fingerprint256,
  };
}

async function asWeRead(certificate: X509Certificate) {
  const { serial, issuer, subject, notBefore, notAfter, publicKey, raw } = certificate;
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', new Uint8Array(raw)));
  return {
    serial,
    issuer: nameText(issuer.attributes),
    subject: nameText(subject.attributes),
    notBefore,
    notAfter,
    key:
      'x' in publicKey
        ? [toHex(publicKey.x), toHex(publicKey.y)]
        : [toHex(publicKey.modulus), toHex(publicKey.exponent)],
    fingerprint: toHex(digest).toUpperCase().match(/../g)?.join(':'),
  };
}

const chains = ['genoa', 'genoa-vlek', 'milan', 'milan-vlek', 'turin', 'turin-vlek'];
const realFiles = [
  ...chains.map((name) => `certs/cert_chain_${name}.pem`),
  'certs/vcek-hwid-octetstring.invalid.der',
  'certs/vcek-hwid-raw.invalid.der',
  'reports/genoa-v3-tsm.vcek.pem',
  'reports/genoa-v5-siena.vcek.der',
  'reports/milan-v2-debug.vcek.der',
  'reports/milan-v2-idblock.vcek.der',
  'reports/milan-v3-oak.vcek.der',
  'reports/milan-v3-vlek-aws.vlek.der',
  'reports/turin-v5-azure.vcek.pem',
];

describeWithVectors('a certificate by AMD', () => {
  test.each(realFiles)('%s reads as Node reads it', async (file) => {
    const certificates = readCertificates(vectors(`snp/${file}`));
    expect(certificates).toHaveLength(file.includes('chain') ? 2 : 1);
    for (const certificate of certificates)
      expect(await asWeRead(certificate)).toEqual(asNodeReads(certificate.raw));
  });
});

describe('a certificate of ours', () => {
  test('reads as Node reads it, and Node finds the signatures good', async () => {
    const { ark, ask, asvk } = endorser;
    const vlek = await endorser.vek('VLEK');
    const chain = [ark, ask, asvk, vcek, vlek];
    for (const each of chain) expect(await asWeRead(each)).toEqual(asNodeReads(each.raw));
    const node = (each: X509Certificate) => new NodeCertificate(each.raw);
    const signed = ([child, parent]: readonly [X509Certificate, X509Certificate]) =>
      node(child).verify(node(parent).publicKey);
    expect(
      [
        [ark, ark],
        [ask, ark],
        [asvk, ark],
        [vcek, ask],
        [vlek, asvk],
      ].map((each) => signed(each as [X509Certificate, X509Certificate])),
    ).toEqual([true, true, true, true, true]);
    expect(signed([vcek, asvk])).toBe(false);
    expect(node(ask).checkIssued(node(ark))).toBe(true);
    expect(node(ark).ca && node(ask).ca && !node(vcek).ca).toBe(true);
  });

  test('can be without extensions, and valid beyond 2050', async () => {
    const fields: NewCertificate = {
      serial: 2n ** 159n - 1n,
      issuer: [{ type: 'CN', value: 'é, \\' }],
      subject: [{ type: '2.5.4.5', value: '' }],
      notBefore: day('1950-01-01'),
      notAfter: day('9999-12-31'),
      publicKey: endorser.vekKey.publicKey,
      extensions: [],
    };
    const encoded = await encodeCertificate(fields, () => new Uint8Array(256));
    const { serial, issuer, subject, notBefore, notAfter, publicKey, extensions } = parseCertificate(encoded);
    expect({ ...fields, serial, notBefore, notAfter, publicKey, extensions }).toEqual(fields);
    expect([issuer.attributes, subject.attributes]).toEqual([fields.issuer, fields.subject]);
    const refuse = (change: Partial<NewCertificate>) =>
      encodeCertificate({ ...fields, ...change }, () => new Uint8Array(256));
    await expect(refuse({ serial: -1n })).rejects.toThrow(InvalidArgumentError);
    await expect(refuse({ notAfter: 1 })).rejects.toThrow(InvalidArgumentError);
    await expect(refuse({ subject: [{ type: 'XX', value: '' }] })).rejects.toThrow(InvalidArgumentError);
    await expect(refuse({ extensions: [{ oid: 'x', value: new Uint8Array(0) }] })).rejects.toThrow(
      InvalidArgumentError,
    );
  });

  test('does not change with the bytes that it was read from', () => {
    const bytes = Buffer.from(vcek.raw);
    const read = parseCertificate(bytes);
    bytes.fill(0);
    expect(read.raw).toEqual(vcek.raw);
    expect(read.raw.constructor).toBe(Uint8Array);
    expect(read.subject.raw).toEqual(vcek.subject.raw);
  });
});

/** The certificate with one of its parts replaced, every length around it put right. */
function edited(certificate: X509Certificate, edit: (fields: Uint8Array[]) => Uint8Array[]): Uint8Array {
  const fields = edit(elementsOf(contentOf(certificate.signedBytes)));
  const [, algorithm, signature] = elementsOf(contentOf(certificate.raw));
  return derSequence(derSequence(...fields), algorithm!, signature!);
}

const withField = (index: number, value: Uint8Array) => (fields: Uint8Array[]) => fields.with(index, value);
const version = (number: number) => derElement(contextTag(0, 'constructed'), derInteger(number));
const extensions = (...list: Uint8Array[]) => derElement(contextTag(3, 'constructed'), derSequence(...list));
const extension = (...rest: Uint8Array[]) => derSequence(derOid('1.2.3'), ...rest);
const attribute = (tag: number, text: Uint8Array) =>
  derSequence(derOid(oids.commonName), derElement(tag, text));
const rdn = (...attributes: Uint8Array[]) => derElement(tags.set, ...attributes);
const ascii = (text: string) => new TextEncoder().encode(text);
const rsaKey = (...parts: Uint8Array[]) =>
  derSequence(
    derSequence(derOid(oids.rsaEncryption), derNull()),
    derElement(tags.bitString, Uint8Array.of(0), ...parts),
  );
const point = (bytes: Uint8Array, curve: string = oids.secp384r1) =>
  derSequence(
    derSequence(derOid(oids.ecPublicKey), derOid(curve)),
    derElement(tags.bitString, Uint8Array.of(0), bytes),
  );
/** Where a field stands in a TBSCertificate. */
const at = { version: 0, serial: 1, signature: 2, issuer: 3, validity: 4, subject: 5, key: 6, extensions: 7 };

describe('a certificate is refused', () => {
  const cases: [string, (fields: Uint8Array[]) => Uint8Array[], string][] = [
    ['of version 1', (fields) => fields.slice(1), 'tbsCertificate.version'],
    ['of version 2', withField(at.version, version(1)), 'tbsCertificate.version'],
    ['of version 4', withField(at.version, version(3)), 'tbsCertificate.version'],
    ['with a negative serial', withField(at.serial, fromHex('0201ff')), 'tbsCertificate.serialNumber'],
    [
      'with a serial of 21 octets',
      withField(at.serial, derInteger(2n ** 160n)),
      'tbsCertificate.serialNumber',
    ],
    [
      'with another algorithm outside',
      withField(at.signature, derSequence(derOid('1.2.3'))),
      'signatureAlgorithm',
    ],
    ['with a name that is none', withField(at.issuer, derNull()), 'tbsCertificate.issuer'],
    [
      'with two attributes in one part of a name',
      withField(
        at.subject,
        derSequence(rdn(attribute(tags.utf8String, ascii('a')), attribute(tags.utf8String, ascii('b')))),
      ),
      'tbsCertificate.subject.rdn[0].end',
    ],
    [
      'with an empty part of a name',
      withField(at.subject, derSequence(rdn())),
      'tbsCertificate.subject.rdn[0].attribute',
    ],
    [
      'with a name in T61',
      withField(at.subject, derSequence(rdn(attribute(0x14, ascii('a'))))),
      'tbsCertificate.subject.rdn[0].attribute.value',
    ],
    [
      'with broken UTF-8 in a name',
      withField(at.subject, derSequence(rdn(attribute(tags.utf8String, Uint8Array.of(0xc3))))),
      'tbsCertificate.subject.rdn[0].attribute.value',
    ],
    [
      'with a line break in a name',
      withField(at.subject, derSequence(rdn(attribute(tags.utf8String, ascii('a\nb'))))),
      'tbsCertificate.subject.rdn[0].attribute.value',
    ],
    [
      'with text that runs backwards in a name',
      withField(at.subject, derSequence(rdn(attribute(tags.utf8String, ascii('a\u202eb'))))),
      'tbsCertificate.subject.rdn[0].attribute.value',
    ],
    [
      'with an asterisk in a PrintableString',
      withField(at.subject, derSequence(rdn(attribute(tags.printableString, ascii('*'))))),
      'tbsCertificate.subject.rdn[0].attribute.value',
    ],
    [
      'with an accent in an IA5String',
      withField(at.subject, derSequence(rdn(attribute(tags.ia5String, Uint8Array.of(0xe9))))),
      'tbsCertificate.subject.rdn[0].attribute.value',
    ],
    [
      'with 17 parts in a name',
      withField(
        at.subject,
        derSequence(...Array.from({ length: 17 }, () => rdn(attribute(tags.utf8String, ascii('a'))))),
      ),
      'tbsCertificate.subject.rdn',
    ],
    [
      'with one date',
      withField(at.validity, derSequence(fromHex(`170d${toHex(ascii('260101000000Z'))}`))),
      'tbsCertificate.validity.notAfter',
    ],
    [
      'with an RSA key whose parameters are missing',
      withField(
        at.key,
        derSequence(derSequence(derOid(oids.rsaEncryption)), derElement(tags.bitString, Uint8Array.of(0))),
      ),
      'tbsCertificate.subjectPublicKeyInfo.algorithm.parameters',
    ],
    [
      'with an RSA key without an exponent',
      withField(at.key, rsaKey(derSequence(derInteger(77)))),
      'tbsCertificate.subjectPublicKeyInfo.subjectPublicKey.rsaPublicKey.publicExponent',
    ],
    [
      'with an RSA key and more',
      withField(at.key, rsaKey(derSequence(derInteger(77), derInteger(3)), derNull())),
      'tbsCertificate.subjectPublicKeyInfo.subjectPublicKey.end',
    ],
    [
      'with an RSA key of 8193 bits',
      withField(at.key, rsaKey(derSequence(derInteger(2n ** 8200n), derInteger(3)))),
      'tbsCertificate.subjectPublicKeyInfo.subjectPublicKey.rsaPublicKey.modulus',
    ],
    [
      'with an exponent of 9 octets',
      withField(at.key, rsaKey(derSequence(derInteger(77), derInteger(2n ** 64n)))),
      'tbsCertificate.subjectPublicKeyInfo.subjectPublicKey.rsaPublicKey.publicExponent',
    ],
    [
      'with a key on P-256',
      withField(at.key, point(new Uint8Array(65), '1.2.840.10045.3.1.7')),
      'tbsCertificate.subjectPublicKeyInfo.algorithm.algorithm',
    ],
    [
      'with an Ed25519 key',
      withField(
        at.key,
        derSequence(derSequence(derOid('1.3.101.112')), derElement(tags.bitString, new Uint8Array(33))),
      ),
      'tbsCertificate.subjectPublicKeyInfo.algorithm.algorithm',
    ],
    [
      'with a compressed point',
      withField(at.key, point(concat(Uint8Array.of(2), new Uint8Array(48)))),
      'tbsCertificate.subjectPublicKeyInfo.subjectPublicKey',
    ],
    [
      'with half a point',
      withField(at.key, point(concat(Uint8Array.of(4), new Uint8Array(48)))),
      'tbsCertificate.subjectPublicKeyInfo.subjectPublicKey',
    ],
    [
      'with a point and more',
      withField(at.key, point(concat(Uint8Array.of(4), new Uint8Array(97)))),
      'tbsCertificate.subjectPublicKeyInfo.subjectPublicKey',
    ],
    [
      'with a point of 97 bytes that begins 06',
      withField(at.key, point(concat(Uint8Array.of(6), new Uint8Array(96)))),
      'tbsCertificate.subjectPublicKeyInfo.subjectPublicKey',
    ],
    [
      'with unique ids',
      (fields) => fields.toSpliced(at.extensions, 0, fromHex('810200ff')),
      'tbsCertificate.end',
    ],
    [
      'with an empty list of extensions',
      withField(at.extensions, extensions()),
      'tbsCertificate.extensions.list',
    ],
    [
      'with 33 extensions',
      withField(
        at.extensions,
        extensions(...Array.from({ length: 33 }, () => extension(derOctetString(ascii('a'))))),
      ),
      'tbsCertificate.extensions.list.extension',
    ],
    [
      'with `critical` FALSE spelled out',
      withField(at.extensions, extensions(extension(derBoolean(false), derOctetString(ascii('a'))))),
      'tbsCertificate.extensions.list.extension[0].critical',
    ],
    [
      'with `critical` 01',
      withField(at.extensions, extensions(extension(fromHex('010101'), derOctetString(ascii('a'))))),
      'tbsCertificate.extensions.list.extension[0].critical',
    ],
    [
      'with an extension without a value',
      withField(at.extensions, extensions(extension())),
      'tbsCertificate.extensions.list.extension[0].extnValue',
    ],
    [
      'with an extension and more',
      withField(at.extensions, extensions(extension(derOctetString(ascii('a')), derNull()))),
      'tbsCertificate.extensions.list.extension[0].end',
    ],
    ['with more after the extensions', (fields) => [...fields, derNull()], 'tbsCertificate.end'],
    [
      'above 16 KiB',
      withField(at.extensions, extensions(extension(derOctetString(new Uint8Array(16384))))),
      'length',
    ],
  ];

  test.each(cases)('%s', (_, edit, field) => {
    let error: unknown;
    try {
      parseCertificate(edited(vcek, edit));
    } catch (caught) {
      error = caught;
    }
    expect(error).toBeInstanceOf(MalformedError);
    const expected = ['end', 'length'].includes(field) ? field : `certificate.${field}`;
    expect(error).toMatchObject({ structure: 'X.509 certificate', field: expected });
  });

  test('the edits themselves do no harm', () => {
    expect(edited(vcek, (fields) => fields)).toEqual(vcek.raw);
  });

  const whole: [string, (raw: Uint8Array) => Uint8Array][] = [
    ['with a byte after it', (raw) => concat(raw, Uint8Array.of(0))],
    ['without its last byte', (raw) => raw.subarray(0, -1)],
    ['of no bytes', () => new Uint8Array(0)],
    ['of indefinite length', (raw) => concat(fromHex('3080'), contentOf(raw), fromHex('0000'))],
    [
      'whose length takes one octet too many',
      (raw) => concat(fromHex(`308300${toHex(raw.subarray(2, 4))}`), contentOf(raw)),
    ],
    ['whose length says one more', (raw) => changed(raw, { at: 3, mask: (raw[3]! ^ (raw[3]! + 1)) & 0xff })],
    ['whose length says one less', (raw) => changed(raw, { at: 3, mask: (raw[3]! ^ (raw[3]! - 1)) & 0xff })],
    ['whose signature has unused bits', (raw) => replaced(raw, fromHex('0382010100'), fromHex('0382010101'))],
    [
      'whose inner part is of indefinite length',
      (raw) => {
        const [tbs, ...rest] = elementsOf(contentOf(raw));
        return derSequence(concat(fromHex('3080'), contentOf(tbs!), fromHex('0000')), ...rest);
      },
    ],
  ];
  test.each(whole)('%s', (_, change) => {
    expect(() => parseCertificate(change(vcek.raw))).toThrow(MalformedError);
  });

  test('with its place and path in the complaint', () => {
    const refuse = () => parseCertificate(vcek.raw.subarray(0, 20), { offset: 4000, path: 'entry 3' });
    expect(refuse).toThrow('entry 3: certificate at offset 0xfa1: expected a length within the value');
  });
});

test('what is read of a changed certificate is what stands there: its parts are in its bytes', () => {
  const property = fc.property(byteChange(vcek.raw.length), (change) => {
    const bytes = changed(vcek.raw, change);
    let read: X509Certificate;
    try {
      read = parseCertificate(bytes);
    } catch (error) {
      expect(error).toBeInstanceOf(MalformedError);
      return;
    }
    const [tbs, , signature] = elementsOf(contentOf(bytes));
    expect(equalBytes(read.signedBytes, tbs!) && equalBytes(read.raw, bytes)).toBe(true);
    expect(equalBytes(read.signature, contentOf(signature!).subarray(1))).toBe(true);
  });
  fc.assert(property, { numRuns: 500 });
});

describe('a file of certificates', () => {
  test('is DER or PEM', () => {
    const { ask, ark } = endorser;
    expect(readCertificates(vcek.raw)).toEqual([vcek]);
    const pem = [ask, ark].map(({ raw }) => encodePem('CERTIFICATE', raw)).join('');
    expect(readCertificates(ascii(pem))).toEqual([ask, ark]);
  });

  test('names the block that is refused', () => {
    const pem = [vcek.raw, Uint8Array.of(5, 0)].map((each) => encodePem('CERTIFICATE', each)).join('');
    expect(() => readCertificates(ascii(pem), 'chain.pem')).toThrow(
      'chain.pem, block 2: certificate at offset 0x0',
    );
    expect(() => readCertificates(Uint8Array.of(5, 0), 'vek.der')).toThrow(
      'vek.der: certificate at offset 0x0',
    );
    expect(() => readCertificates(ascii(encodePem('X509 CRL', vcek.raw)))).toThrow('expected CERTIFICATE');
    expect(() => readCertificates(new Uint8Array(1048577).fill(0x20))).toThrow(
      'expected at most 1048576 bytes',
    );
  });
});
