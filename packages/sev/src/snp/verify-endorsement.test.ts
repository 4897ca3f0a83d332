import { beforeAll, describe, expect, test } from 'vitest';
import { Appraiser, verdict } from '../appraisal/appraisal.js';
import { checkTable } from '../appraisal/checks.js';
import { InvalidArgumentError } from '../errors.js';
import {
  appraise,
  checkOf,
  failed,
  genoa,
  makeEndorsers,
  milan,
  now,
  rootFor,
  sha256,
  vcek,
  vlek,
} from '../testing/endorsement-appraisals.js';
import { type Change, day, makeEndorser } from '../testing/endorsements.js';
import type { NewCertificate } from '../x509/certificate.js';
import { endorsementChecks } from './endorsement-checks.js';
import type { EndorsementRoot } from './endorsement-rules.js';
import { amdEndorsementRoots } from './trust-anchor.js';
import { rootOfTrust, verifyEndorsement } from './verify-endorsement.js';

beforeAll(makeEndorsers);

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
