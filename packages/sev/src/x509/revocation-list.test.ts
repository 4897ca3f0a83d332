import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { concat, fromHex } from '../bytes.js';
import { InvalidArgumentError, MalformedError } from '../errors.js';
import { contentOf, elementsOf } from '../testing/der-edit.js';
import { day, makeEndorser, type TestEndorser, testEndorserKeys } from '../testing/endorsements.js';
import { derElement, derInteger, derNull, derOctetString, derOid, derSequence } from './der-writer.js';
import { readRevocationLists } from './files.js';
import { oids } from './oid.js';
import { encodePem } from './pem.js';
import {
  encodeRevocationList,
  issuingDistributionPointExtension,
  parseListScope,
  parseRevocationList,
  type X509RevocationList,
} from './revocation-list.js';
import { derTime } from './time.js';

let endorser: TestEndorser;
let list: X509RevocationList;
const revoked = [
  { serial: 0x990001n, revokedAt: day('2026-02-20') },
  { serial: 0n, revokedAt: day('2051-01-01') },
];
beforeAll(async () => {
  endorser = await makeEndorser('Milan', testEndorserKeys());
  list = await endorser.crl((fields) => ({ ...fields, revoked }));
});

describe('a revocation list', () => {
  test('comes back', () => {
    expect(list).toMatchObject({ thisUpdate: day('2026-03-01'), nextUpdate: day('2026-04-01') });
    expect(list.issuer.attributes).toEqual(endorser.ark.subject.attributes);
    expect(list.revoked).toEqual(revoked.map((each) => ({ ...each, extensions: [] })));
    expect(list.extensions.map(({ oid }) => oid)).toEqual([oids.authorityKeyIdentifier, oids.crlNumber]);
    expect(readRevocationLists(list.raw)).toEqual([list]);
    expect(readRevocationLists(new TextEncoder().encode(encodePem('X509 CRL', list.raw)))).toEqual([list]);
    const certificate = new TextEncoder().encode(encodePem('CERTIFICATE', list.raw));
    expect(() => readRevocationLists(certificate)).toThrow('expected X509 CRL');
  });

  test('may be empty, and silent about the next', async () => {
    const short = await endorser.crl(({ nextUpdate: _, ...fields }) => ({ ...fields, extensions: [] }));
    expect(short).toMatchObject({ nextUpdate: undefined, revoked: [], extensions: [] });
  });

  test('does not change with the bytes that it was read from', () => {
    const bytes = Buffer.from(list.raw);
    const read = parseRevocationList(bytes);
    bytes.fill(0);
    expect(read).toEqual(list);
  });

  test('cannot be written with half a second', async () => {
    const fields = { issuer: [], thisUpdate: 1, revoked: [] };
    await expect(encodeRevocationList(fields, () => new Uint8Array(1))).rejects.toThrow(InvalidArgumentError);
  });
});

const hasOpenssl = (() => {
  try {
    execFileSync('openssl', ['version']);
    return true;
  } catch {
    return false;
  }
})();

test('a revocation list satisfies the openssl command', ({ skip }) => {
  if (!hasOpenssl) skip('no openssl command (package openssl)');
  const folder = mkdtempSync(join(tmpdir(), 'vouchsafe-crl-'));
  try {
    const [crl, ca] = [join(folder, 'crl.der'), join(folder, 'ark.pem')];
    writeFileSync(crl, list.raw);
    writeFileSync(ca, encodePem('CERTIFICATE', endorser.ark.raw));
    const text = execFileSync(
      'openssl',
      ['crl', '-inform', 'DER', '-in', crl, '-CAfile', ca, '-noout', '-text'],
      {
        encoding: 'utf8',
        stdio: 'pipe',
      },
    );
    for (const line of [
      'Version 2',
      'CN = ARK-Milan',
      'Mar  1 00:00:00 2026',
      'Serial Number: 990001',
      'Salt Length: 0x30',
    ])
      expect(text).toContain(line);
    const verified = () =>
      execFileSync('openssl', ['crl', '-inform', 'DER', '-in', crl, '-CAfile', ca, '-noout', '-verify'], {
        stdio: 'pipe',
      });
    expect(verified).not.toThrow();
  } finally {
    rmSync(folder, { recursive: true });
  }
});

/** The list with other fields, every length around them put right. */
function edited(edit: (fields: Uint8Array[]) => Uint8Array[]): Uint8Array {
  const [tbs, algorithm, signature] = elementsOf(contentOf(list.raw));
  return derSequence(derSequence(...edit(elementsOf(contentOf(tbs!)))), algorithm!, signature!);
}

/** Where a field stands in a TBSCertList. */
const at = { version: 0, signature: 1, issuer: 2, thisUpdate: 3, nextUpdate: 4, revoked: 5, extensions: 6 };
const entry = (...more: Uint8Array[]) => derSequence(derSequence(derInteger(1), derTime(0), ...more));

describe('a revocation list is refused', () => {
  test.each<[string, (fields: Uint8Array[]) => Uint8Array[], string]>([
    ['of version 3', (fields) => fields.with(at.version, derInteger(2)), 'tbsCertList.version'],
    [
      'with another algorithm outside',
      (fields) => fields.with(at.signature, derSequence(derOid('1.2.3'))),
      'signatureAlgorithm',
    ],
    ['without a date', (fields) => fields.toSpliced(at.thisUpdate, 2), 'tbsCertList.thisUpdate'],
    [
      'with a negative serial',
      (fields) => fields.with(at.revoked, derSequence(derSequence(fromHex('0201ff'), derTime(0)))),
      'tbsCertList.revokedCertificates.revoked[0].userCertificate',
    ],
    [
      'without a date of revocation',
      (fields) => fields.with(at.revoked, derSequence(derSequence(derInteger(1)))),
      'tbsCertList.revokedCertificates.revoked[0].revocationDate',
    ],
    [
      'with more in an entry',
      (fields) => fields.with(at.revoked, entry(derNull())),
      'tbsCertList.revokedCertificates.revoked[0].crlEntryExtensions',
    ],
    [
      'with no extension in an entry',
      (fields) => fields.with(at.revoked, entry(derSequence())),
      'tbsCertList.revokedCertificates.revoked[0].crlEntryExtensions',
    ],
    [
      'with no extension',
      (fields) => fields.with(at.extensions, derElement(0xa0, derSequence())),
      'tbsCertList.crlExtensions.list',
    ],
    ['with more at its end', (fields) => [...fields, derNull()], 'tbsCertList.end'],
  ])('%s', (_, edit, field) => {
    let error: unknown;
    try {
      parseRevocationList(edited(edit));
    } catch (caught) {
      error = caught;
    }
    expect(error).toBeInstanceOf(MalformedError);
    expect(error).toMatchObject({ structure: 'revocation list', field: `certificateList.${field}` });
  });

  test('with bytes after it, or above its limits', () => {
    expect(edited((fields) => fields)).toEqual(list.raw);
    expect(() => parseRevocationList(concat(list.raw, Uint8Array.of(0)))).toThrow('no trailing bytes');
    expect(() => parseRevocationList(new Uint8Array(262145))).toThrow('expected at most 262144 bytes');
    const many = derSequence(...Array.from({ length: 4097 }, () => derSequence(derInteger(1), derTime(0))));
    expect(() => parseRevocationList(edited((fields) => fields.with(at.revoked, many)))).toThrow(
      'at most 4096',
    );
  });

  test('but one of version 1 reads', () => {
    const first = edited((fields) => fields.slice(1, at.extensions));
    expect(parseRevocationList(first).revoked.map(({ serial }) => serial)).toEqual([0x990001n, 0n]);
  });
});

describe('the scope of a list', () => {
  const scope = (value: Uint8Array) => parseListScope({ oid: '', critical: true, value, offset: 0 });

  test.each([
    { uris: [], authoritiesOnly: false },
    { uris: ['https://a/crl'], authoritiesOnly: true },
    { uris: ['a', 'b'], authoritiesOnly: false },
  ])('%j comes back', (each) => {
    const extension = issuingDistributionPointExtension(each);
    expect(extension).toMatchObject({ oid: oids.issuingDistributionPoint, critical: true });
    expect(scope(extension.value)).toEqual(each);
  });

  test.each([
    ['user certificates only', 0x81],
    ['some reasons only', 0x83],
    ['other issuers', 0x84],
    ['attribute certificates only', 0x85],
  ])('is refused when it is %s', (_, tag) => {
    expect(() => scope(derSequence(derElement(tag, Uint8Array.of(0xff))))).toThrow(MalformedError);
  });

  test('is refused with more', () => {
    expect(() => scope(concat(derSequence(), derOctetString(new Uint8Array(0))))).toThrow(
      'no trailing bytes',
    );
  });
});
