import { beforeAll, describe, expect, test } from 'vitest';
import { type Appraisal, Appraiser, verdict } from '../appraisal/appraisal.js';
import { checkTable } from '../appraisal/checks.js';
import { InvalidArgumentError } from '../errors.js';
import { generateCaKey } from '../testing/development-platform.js';
import {
  type Change,
  day,
  makeEndorser,
  type TestEndorser,
  testEndorserKeys,
} from '../testing/endorsements.js';
import {
  basicConstraintsExtension,
  crlDistributionPointsExtension,
  keyUsageExtension,
  subjectKeyIdExtension,
} from '../x509/ca-extensions.js';
import type { NewCertificate, X509Certificate } from '../x509/certificate.js';
import type { NewExtension } from '../x509/extension.js';
import { oids } from '../x509/oid.js';
import { amdSignatureAlgorithm } from '../x509/signature-algorithm.js';
import { type EndorsementCheck, endorsementChecks } from './endorsement-checks.js';
import type { EndorsementRoot } from './endorsement-rules.js';
import { amdEndorsementRoots, certificateFingerprint } from './trust-anchor.js';
import { vekExtensionsOf } from './vek-certificate.js';
import {
  appraiseEndorsement,
  type EndorsementEvidence,
  type EndorsementOptions,
  rootOfTrust,
  verifyEndorsement,
} from './verify-endorsement.js';

const now = day('2026-03-15');
/** What signatures under the root are not made with, though they verify. */
const sha256 = { ...amdSignatureAlgorithm, hash: 'SHA-256', maskHash: 'SHA-256', saltLength: 32 };
let milan: TestEndorser;
let genoa: TestEndorser;
let vcek: X509Certificate;
let vlek: X509Certificate;
beforeAll(async () => {
  const keys = testEndorserKeys();
  milan = await makeEndorser('Milan', keys);
  genoa = await makeEndorser('Genoa', keys);
  [vcek, vlek] = await Promise.all([milan.vek('VCEK'), milan.vek('VLEK')]);
});

/** The chain of a VCEK under the roots of a test, with some of it replaced. */
const appraise = (evidence: Partial<EndorsementEvidence> = {}, options: Partial<EndorsementOptions> = {}) =>
  appraiseEndorsement(
    { vek: vcek, certificates: [milan.ask, milan.ark], ...evidence },
    { roots: [milan.root], at: now, revocation: 'skip', ...options },
  );

/** The ids of the checks that failed, without what they have in common. */
const failed = (appraisal: Appraisal) =>
  verdict(appraisal).failed.map(({ id }) => id.slice('endorsement.'.length));
const checkOf = (appraisal: Appraisal, id: EndorsementCheck) =>
  appraisal.checks.find((each) => each.id === id)!;

/** A root that trusts another ARK by the same rules, or by rules that the test changes. */
const rootFor = async (
  ark: X509Certificate,
  change: Partial<EndorsementRoot> = {},
): Promise<EndorsementRoot> => ({
  ...milan.root,
  ...change,
  arkSha256: await certificateFingerprint(ark),
});

describe('a chain that is in order', () => {
  test('leads to the root, as a VCEK and as a VLEK', async () => {
    const appraisal = await appraise();
    expect(failed(appraisal)).toEqual([]);
    expect(appraisal).toMatchObject({ subject: 'endorsement of a VEK', root: rootOfTrust(milan.root) });
    expect(appraisal.root).toEqual({
      name: 'Vouchsafe Development, Milan',
      kind: 'development',
      fingerprint: milan.root.arkSha256,
    });
    expect(failed(await appraise({ vek: vlek, certificates: [milan.ark, milan.asvk] }))).toEqual([]);
  });

  test('is found among others, in any order, more than once', async () => {
    const { ark, ask, asvk } = milan;
    const all = [genoa.ark, asvk, ark, genoa.ask, vlek, ask, ark, genoa.asvk, vcek];
    for (const certificates of [all, all.toReversed()]) {
      expect(failed(await appraise({ certificates }))).toEqual([]);
      expect(failed(await appraise({ vek: vlek, certificates }))).toEqual([]);
    }
  });

  test('is found although others bear the same names', async () => {
    const impostor = await makeEndorser('Milan', {
      ...milan.keys,
      ARK: milan.keys.ASVK,
      ASK: milan.keys.ASVK,
    });
    const certificates = [impostor.ark, impostor.ask, milan.ask, milan.ark];
    expect(failed(await appraise({ certificates }))).toEqual([]);
  });

  test('tells the caller what the VEK says, and reports into the caller’s Appraiser', async () => {
    const own = { title: 'Own', protects: 'order', hint: 'none', kind: 'expectation' } as const;
    const appraiser = new Appraiser('more', checkTable({ 'own.check': own, ...endorsementChecks }));
    appraiser.report('own.check', true, { expected: 'x', found: 'x' });
    const evidence = { vek: vcek, certificates: [milan.ask, milan.ark] };
    const options = { roots: [milan.root], at: now, revocation: 'skip' } as const;
    const result = await verifyEndorsement(evidence, options, appraiser);
    expect(result).toMatchObject({ endorsed: true, root: milan.root, vek: { kind: 'VCEK', line: 'Milan' } });
    const appraisal = appraiser.finish();
    expect(appraisal.checks.map(({ id }) => id)).toEqual(['own.check', ...Object.keys(endorsementChecks)]);
    expect(verdict(appraisal).word).toBe('accepted');
  });

  test('needs a date', async () => {
    for (const at of [Number.NaN, Number.POSITIVE_INFINITY, 9e15])
      await expect(appraise({}, { at })).rejects.toThrow(InvalidArgumentError);
  });
});

describe('the root', () => {
  /** An untrusted chain is held to the rules that it claims: of its faults there are these, as tests have small keys. */
  const smallKeys = ['ark.key', 'ask.key'];

  test('that nobody trusts is refused', async () => {
    const appraisal = await appraise({}, { roots: amdEndorsementRoots });
    expect(failed(appraisal)).toEqual(['ark.root', ...smallKeys]);
    expect(appraisal.root).toBeUndefined();
    expect(checkOf(appraisal, 'endorsement.ark.root')).toMatchObject({
      expected: 'AMD, Milan; AMD, Genoa; AMD, Turin',
      found: `OU=Software Processors, O=Vouchsafe Development, CN=ARK-Milan, fingerprint ${milan.root.arkSha256}`,
      hint: 'this is a development root for Milan: the processor is software, no chip protects the guest; if that is what you want, name it with --root FILE',
    });
    const other = await appraise({}, { roots: [genoa.root] });
    expect(checkOf(other, 'endorsement.ark.root').hint).toContain('name this very root with --root FILE');
    const none = await appraise({}, { roots: [] });
    expect(failed(none)).toEqual(['ark.root', ...smallKeys]);
    expect(checkOf(none, 'endorsement.ark.root').expected).toBe('a root, but none was given to trust');
  });

  test('that calls itself AMD’s is refused, and what to do depends on whom the caller trusts', async () => {
    const amd = amdEndorsementRoots[0]!.authorities.ARK.subject;
    const ark = await milan.authority('ARK', (fields) => ({ ...fields, subject: amd, issuer: amd }));
    const appraisal = await appraise({ certificates: [milan.ask, ark] }, { roots: amdEndorsementRoots });
    expect(failed(appraisal)).toContain('ark.root');
    expect(checkOf(appraisal, 'endorsement.ark.root').hint).toBe(
      'this claims to be AMD’s root for Milan and is not it',
    );
    const given = await appraise({ certificates: [milan.ask, ark] });
    expect(checkOf(given, 'endorsement.ark.root').hint).toBe(
      'this claims to be AMD’s root for Milan; to trust AMD’s, leave out --root',
    );
  });

  test('of a stranger fails whatever a root decides', async () => {
    const name = [{ type: 'CN', value: 'ARK-Nobody' }];
    const strange = await milan.authority('ARK', (fields) => ({ ...fields, subject: name, issuer: name }));
    const vek = await milan.vek('VCEK', (fields) => ({ ...fields, issuer: name }));
    const appraisal = await appraise({ vek, certificates: [strange] }, { revocation: 'require' });
    expect(failed(appraisal)).toEqual([
      'ark.root',
      'ark.name',
      'ark.key',
      'ark.extensions',
      'ark.self-signature',
      'ask.name',
      'ask.serial',
      'ask.key',
      'ask.extensions',
      'ask.validity',
      'ask.ark-signature',
      'vek.name',
      'vek.serial',
      'vek.product',
      'vek.ask-signature',
      'revocation-list',
      'revocation',
    ]);
    expect(checkOf(appraisal, 'endorsement.ark.root').hint).toBe(
      endorsementChecks['endorsement.ark.root'].hint,
    );
    expect(checkOf(appraisal, 'endorsement.ark.name').expected).toBe('what a trusted root demands');
  });

  test('must be as its own rules say', async () => {
    const trusted = async (change: Change<NewCertificate>, rules: Partial<EndorsementRoot> = {}) => {
      const ark = await milan.authority('ARK', change);
      const root = await rootFor(ark, rules);
      return failed(await appraise({ certificates: [milan.ask, ark] }, { roots: [root] }));
    };
    const unchanged: Change<NewCertificate> = (fields) => ({ ...fields, serial: 5n });
    expect(await trusted(unchanged)).toEqual([]);
    expect(await trusted((fields) => ({ ...fields, notAfter: day('2026-03-01') }))).toEqual(['ark.validity']);
    expect(await trusted((fields) => ({ ...fields, notBefore: day('2026-03-16') }))).toEqual([
      'ark.validity',
    ]);
    expect(await trusted(unchanged, { modulusBits: 4096 })).toEqual(['ark.key', 'ask.key']);
    expect(await trusted(unchanged, { exponent: 3 })).toEqual(['ark.key', 'ask.key']);
    expect(await trusted((fields) => ({ ...fields, signatureAlgorithm: sha256 }))).toEqual([
      'ark.self-signature',
    ]);
    expect(await trusted(unchanged, { authorities: genoa.root.authorities })).toEqual([
      'ark.name',
      'ark.extensions',
      'ask.name',
      'ask.extensions',
      'vek.name',
    ]);
    expect(await trusted((fields) => ({ ...fields, extensions: fields.extensions.slice(1) }))).toEqual([
      'ark.extensions',
      'ask.extensions',
    ]);
    expect(await trusted((fields) => ({ ...fields, publicKey: milan.keys.ASVK }))).toEqual([
      'ark.self-signature',
      'ask.ark-signature',
    ]);
  });

  test('must be given', async () => {
    const appraisal = await appraise({ certificates: [milan.ask] });
    expect(failed(appraisal)).toEqual([
      'ark.root',
      'ark.name',
      'ark.key',
      'ark.extensions',
      'ark.validity',
      'ark.self-signature',
      'ask.key',
      'ask.extensions',
      'ask.ark-signature',
    ]);
    expect(checkOf(appraisal, 'endorsement.ark.root')).toMatchObject({
      found: 'no certificate of an ARK was given',
      hint: expect.stringContaining('--chain FILE'),
    });
  });
});

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
