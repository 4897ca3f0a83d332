import { beforeAll, describe, expect, test } from 'vitest';
import { type Appraisal, Appraiser } from '../appraisal/appraisal.js';
import { generateCaKey } from '../testing/development-platform.js';
import {
  appraise,
  checkOf,
  failed,
  genoa,
  makeEndorsers,
  milan,
  now,
  sha256,
  vcek,
  vlek,
} from '../testing/endorsement-appraisals.js';
import { type Change, makeEndorser } from '../testing/endorsements.js';
import {
  basicConstraintsExtension,
  crlDistributionPointsExtension,
  keyUsageExtension,
  subjectKeyIdExtension,
} from '../x509/ca-extensions.js';
import type { NewCertificate } from '../x509/certificate.js';
import type { NewExtension } from '../x509/extension.js';
import { oids } from '../x509/oid.js';
import { endorsementChecks } from './endorsement-checks.js';
import { vekExtensionsOf } from './vek-certificate.js';
import { verifyEndorsement } from './verify-endorsement.js';

beforeAll(makeEndorsers);

describe('the ASK or ASVK', () => {
  const withAsk = async (change: Change<NewCertificate>) => {
    const ask = await milan.authority('ASK', change);
    return appraise({ certificates: [ask, milan.ark] });
  };
  const withExtension = (oid: string, edit: (extension: NewExtension) => readonly NewExtension[]) =>
    withAsk((fields) => ({
      ...fields,
      extensions: fields.extensions.flatMap((each) => (each.oid === oid ? edit(each) : [each])),
    }));
  const extensionsFound = (appraisal: Appraisal) => checkOf(appraisal, 'endorsement.ask.extensions').found;

  test.each<[string, Change<NewCertificate>, string[]]>([
    ['without a serial', (fields) => ({ ...fields, serial: 0n }), ['ask.serial']],
    ['that has ended', (fields) => ({ ...fields, notAfter: now - 1000 }), ['ask.validity']],
    ['that has not begun', (fields) => ({ ...fields, notBefore: now + 1000 }), ['ask.validity']],
    [
      'of another name',
      (fields) => ({ ...fields, subject: [...fields.subject, { type: 'CN', value: 'x' }] }),
      ['ask.name'],
    ],
    [
      'by another issuer',
      (fields) => ({ ...fields, issuer: genoa.root.authorities.ARK.subject }),
      ['ask.name'],
    ],
    [
      'signed by other parameters',
      (fields) => ({
        ...fields,
        signatureAlgorithm: sha256,
      }),
      ['ask.ark-signature'],
    ],
    ['with another key', (fields) => ({ ...fields, publicKey: milan.keys.ASVK }), ['vek.ask-signature']],
  ])('%s is refused', async (_, change, ids) => {
    expect(failed(await withAsk(change))).toEqual(ids);
  });

  test('with a key of another size is refused', async () => {
    const small = generateCaKey(2048, 3);
    expect(failed(await withAsk((fields) => ({ ...fields, publicKey: small })))).toEqual([
      'ask.key',
      'vek.ask-signature',
    ]);
  });

  test('signed by someone else is refused', async () => {
    const impostor = await makeEndorser('Milan', { ...milan.keys, ARK: milan.keys.ASVK });
    expect(failed(await appraise({ certificates: [impostor.ask, milan.ark] }))).toEqual([
      'ask.extensions',
      'ask.ark-signature',
    ]);
  });

  test.each([
    oids.basicConstraints,
    oids.keyUsage,
    oids.subjectKeyIdentifier,
    oids.authorityKeyIdentifier,
    oids.crlDistributionPoints,
  ])('without extension %s, or with it twice, or otherwise critical, is refused', async (oid) => {
    const missing = await withExtension(oid, () => []);
    expect(failed(missing)).toEqual(['ask.extensions']);
    expect(extensionsFound(missing)).toBe(
      `no ${Object.entries(oids).find(([, each]) => each === oid)![0]} (${oid})`,
    );
    const twice = await withExtension(oid, (each) => [each, each]);
    expect(failed(twice)).toEqual(['ask.extensions']);
    expect(extensionsFound(twice)).toMatch(/twice$/);
    const critical = await withExtension(oid, ({ critical = false, ...each }) => [
      { ...each, critical: !critical },
    ]);
    expect(failed(critical)).toEqual(['ask.extensions']);
    expect(extensionsFound(critical)).toMatch(/critical$/);
  });

  test.each<[string, NewExtension, string]>([
    ['no authority', basicConstraintsExtension({ ca: false, pathLength: 0 }), 'no authority'],
    [
      'an authority over authorities',
      basicConstraintsExtension({ ca: true, pathLength: 1 }),
      'path length 1',
    ],
    [
      'an authority without limit',
      basicConstraintsExtension({ ca: true, pathLength: undefined }),
      'path length without limit',
    ],
    ['for lists, too', keyUsageExtension(['keyCertSign', 'cRLSign']), 'for keyCertSign and cRLSign'],
    ['for signatures', keyUsageExtension(['digitalSignature']), 'for digitalSignature'],
    ['with another address', crlDistributionPointsExtension(['https://a/crl']), 'lists at https://a/crl'],
    [
      'with two addresses',
      crlDistributionPointsExtension(['https://kds.vouchsafe.invalid/vcek/v1/Milan/crl', 'https://a/crl']),
      'and https://a/crl',
    ],
    ['with no address', crlDistributionPointsExtension([]), 'lists at no address'],
    [
      'with an unreadable key id',
      { oid: oids.subjectKeyIdentifier, value: new Uint8Array(3) },
      'subjectKeyIdentifier',
    ],
    [
      'naming another key',
      { oid: oids.authorityKeyIdentifier, value: Uint8Array.of(0x30, 3, 0x80, 1, 7) },
      'naming another key than the ARK’s',
    ],
  ])('%s is refused', async (_, replacement, found) => {
    const appraisal = await withExtension(replacement.oid, () => [replacement]);
    expect(failed(appraisal)).toEqual(['ask.extensions']);
    expect(extensionsFound(appraisal)).toContain(found);
  });

  test('with one extension more is refused', async () => {
    const more = { oid: '2.5.29.37', value: new Uint8Array(2) };
    const appraisal = await withAsk((fields) => ({ ...fields, extensions: [...fields.extensions, more] }));
    expect(failed(appraisal)).toEqual(['ask.extensions']);
    expect(extensionsFound(appraisal)).toBe('also 2.5.29.37');
  });

  test('must be given, and of the kind that the VEK needs', async () => {
    const { ark, ask, asvk } = milan;
    const none = await appraise({ certificates: [ark] });
    expect(failed(none)).toEqual([
      'ask.name',
      'ask.serial',
      'ask.key',
      'ask.extensions',
      'ask.validity',
      'ask.ark-signature',
      'vek.ask-signature',
    ]);
    expect(checkOf(none, 'endorsement.ask.name').found).toBe('no certificate of an ASK was given');
    const wrongForVlek = await appraise({ vek: vlek, certificates: [ask, ark] });
    expect(failed(wrongForVlek)).toEqual(['ask.name', 'ask.extensions', 'vek.ask-signature']);
    const noneForVlek = await appraise({ vek: vlek, certificates: [ark] });
    expect(checkOf(noneForVlek, 'endorsement.ask.name').found).toBe('no certificate of an ASVK was given');
    const wrongForVcek = await appraise({ certificates: [asvk, ark] });
    expect(failed(wrongForVcek)).toEqual(['ask.name', 'ask.extensions', 'vek.ask-signature']);
  });

  test('is not taken from a bundle’s VEKs', async () => {
    const appraisal = await appraise({ certificates: [vlek, vcek, milan.ark] });
    expect(checkOf(appraisal, 'endorsement.ask.name').found).toBe('no certificate of an ASK was given');
  });
});

describe('the VEK', () => {
  const withVek = async (change: Change<NewCertificate>, kind: 'VCEK' | 'VLEK' = 'VCEK') =>
    failed(
      await appraise({
        vek: await milan.vek(kind, change),
        certificates: [milan.ask, milan.asvk, milan.ark],
      }),
    );

  test.each<[string, Change<NewCertificate>, string[]]>([
    ['that has ended', (fields) => ({ ...fields, notAfter: now - 1000 }), ['vek.validity']],
    ['that has not begun', (fields) => ({ ...fields, notBefore: now + 1000 }), ['vek.validity']],
    ['with a serial', (fields) => ({ ...fields, serial: 1n }), ['vek.serial']],
    ['of another name', (fields) => ({ ...fields, subject: fields.subject.toReversed() }), ['vek.name']],
    ['with an RSA key', (fields) => ({ ...fields, publicKey: milan.keys.ASK }), ['vek.key']],
    [
      'with a point off the curve',
      (fields) => ({
        ...fields,
        publicKey: { x: new Uint8Array(48).fill(1), y: new Uint8Array(48).fill(2) },
      }),
      ['vek.key'],
    ],
    ['with no extensions', (fields) => ({ ...fields, extensions: [] }), ['vek.extensions', 'vek.product']],
    [
      'with one extension twice',
      (fields) => ({ ...fields, extensions: [...fields.extensions, fields.extensions[3]!] }),
      ['vek.extensions', 'vek.product'],
    ],
    [
      'with one extension less',
      (fields) => ({ ...fields, extensions: fields.extensions.slice(0, -1) }),
      ['vek.extensions', 'vek.product'],
    ],
    [
      'with one extension more',
      (fields) => ({
        ...fields,
        extensions: [...fields.extensions, subjectKeyIdExtension(new Uint8Array(20))],
      }),
      ['vek.extensions', 'vek.product'],
    ],
    [
      'signed by other parameters',
      (fields) => ({ ...fields, signatureAlgorithm: sha256 }),
      ['vek.ask-signature'],
    ],
  ])('%s is refused', async (_, change, ids) => {
    expect(await withVek(change)).toEqual(ids);
  });

  test('of another product line is refused', async () => {
    const foreign = vekExtensionsOf({
      line: 'Turin',
      productName: 'Turin',
      tcb: { fmc: 0, bootloader: 0, tee: 0, snp: 0, microcode: 0 },
      hwid: new Uint8Array(8),
    });
    expect(await withVek((fields) => ({ ...fields, extensions: foreign }))).toEqual(['vek.product']);
    const appraisal = await appraise({ vek: await genoa.vek('VCEK') });
    // The tests’ product lines share their keys: AMD’s do not, and the signature fails as well.
    expect(failed(appraisal)).toEqual(['vek.name', 'vek.product']);
  });

  test('of one kind with the extensions of the other is refused', async () => {
    const { extensions: ofVlek } = vlek;
    const { extensions: ofVcek } = vcek;
    expect(await withVek((fields) => ({ ...fields, extensions: ofVlek }))).toEqual([
      'vek.extensions',
      'vek.product',
    ]);
    expect(await withVek((fields) => ({ ...fields, extensions: ofVcek }), 'VLEK')).toEqual([
      'vek.extensions',
      'vek.product',
    ]);
  });

  test('signed by the ASK of the other kind is refused', async () => {
    const crossed = await makeEndorser('Milan', { ...milan.keys, ASK: milan.keys.ASVK });
    expect(failed(await appraise({ vek: await crossed.vek('VCEK') }))).toEqual(['vek.ask-signature']);
  });

  test('alone is refused, and tells nothing of a root', async () => {
    const appraisal = await appraise({ certificates: [] });
    expect(failed(appraisal)).toContain('ark.root');
    expect(failed(appraisal)).not.toContain('vek.name');
    expect(appraisal.root).toBeUndefined();
  });

  test('keeps what it says from a caller when that was refused', async () => {
    const vek = await milan.vek('VCEK', (fields) => ({ ...fields, extensions: [] }));
    const evidence = { vek, certificates: [milan.ask, milan.ark] };
    const options = { roots: [milan.root], at: now, revocation: 'skip' } as const;
    const appraiser = new Appraiser('vek', endorsementChecks);
    expect(await verifyEndorsement(evidence, options, appraiser)).toEqual({
      endorsed: false,
      root: milan.root,
      vek: undefined,
    });
  });
});
