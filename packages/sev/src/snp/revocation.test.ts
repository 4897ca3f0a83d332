import { beforeAll, describe, expect, test } from 'vitest';
import { type Check, verdict } from '../appraisal/appraisal.js';
import {
  type Change,
  day,
  makeEndorser,
  type TestEndorser,
  testEndorserKeys,
} from '../testing/endorsements.js';
import type { X509Certificate } from '../x509/certificate.js';
import { derElement, derSequence } from '../x509/der-writer.js';
import { oids } from '../x509/oid.js';
import { issuingDistributionPointExtension, type NewRevocationList } from '../x509/revocation-list.js';
import { amdSignatureAlgorithm } from '../x509/signature-algorithm.js';
import {
  isCurrentList,
  type OfferedRevocationList,
  type RevocationMode,
  revocationListUri,
} from './revocation.js';
import type { VekKind } from './vek-certificate.js';
import { appraiseEndorsement } from './verify-endorsement.js';

const now = day('2026-03-15');
const modes = ['require', 'if-available'] as const;
let milan: TestEndorser;
let genoa: TestEndorser;
let veks: Record<VekKind, X509Certificate>;
let good: OfferedRevocationList;
beforeAll(async () => {
  const keys = testEndorserKeys();
  milan = await makeEndorser('Milan', keys);
  genoa = await makeEndorser('Genoa', keys);
  veks = { VCEK: await milan.vek('VCEK'), VLEK: await milan.vek('VLEK') };
  good = await milan.crl();
});

/** The two checks of revocation, and whether the rest of the chain was accepted with them. */
async function ask(
  crls: readonly OfferedRevocationList[],
  revocation: RevocationMode,
  kind: VekKind = 'VCEK',
) {
  const certificates = [milan.ark, milan.ask, milan.asvk];
  const appraisal = await appraiseEndorsement(
    { vek: veks[kind], certificates, crls },
    { roots: [milan.root], at: now, revocation },
  );
  const find = (id: string): Check => appraisal.checks.find((each) => each.id === `endorsement.${id}`)!;
  const [list, revoked] = [find('revocation-list'), find('revocation')];
  return {
    list,
    revoked,
    statuses: [list.status, revoked.status],
    accepted: verdict(appraisal).accepted,
    root: appraisal.root,
  };
}

const changed = (change: Partial<NewRevocationList>) => milan.crl((fields) => ({ ...fields, ...change }));
const revoking =
  (...serials: bigint[]): Change<NewRevocationList> =>
  (fields) => ({
    ...fields,
    revoked: serials.map((serial) => ({ serial, revokedAt: day('2026-02-20') })),
  });
const stale = (fields: NewRevocationList) => ({
  ...fields,
  thisUpdate: day('2026-02-01'),
  nextUpdate: day('2026-03-01'),
});

describe('a current list that names nobody', () => {
  test.each(modes)('is what `%s` wants', async (mode) => {
    const { list, statuses, accepted, root } = await ask([good], mode);
    expect(statuses).toEqual(['pass', 'pass']);
    expect(accepted).toBe(true);
    expect(root?.name).toBe('Vouchsafe Development, Milan');
    expect(list).toMatchObject({
      expected:
        'a list from https://kds.vouchsafe.invalid/vcek/v1/Milan/crl, signed by the ARK and current at 2026-03-15T00:00:00Z',
      found: 'one of 2026-03-01T00:00:00Z, the next due 2026-04-01T00:00:00Z',
    });
  });

  test.each(modes)('may name others: %s', async (mode) => {
    const crl = await milan.crl(revoking(1n, milan.asvk.serial));
    expect((await ask([crl], mode)).statuses).toEqual(['pass', 'pass']);
  });
});

describe('a list that names', () => {
  test.each(
    modes.flatMap((mode) => [
      ['VCEK', 'ask', mode] as const,
      ['VLEK', 'asvk', mode] as const,
      ['VCEK', 'ark', mode] as const,
    ]),
  )('the signer of the %s (%s) refuses it: %s', async (kind, role, mode) => {
    const { serial } = milan[role];
    const { revoked, statuses, accepted, root } = await ask(
      [await milan.crl(revoking(7n, serial))],
      mode,
      kind,
    );
    expect(statuses).toEqual(['pass', 'fail']);
    expect(revoked).toMatchObject({
      expected: `not on the list: 0x990000 and 0x${milan[kind === 'VCEK' ? 'ask' : 'asvk'].serial.toString(16)}`,
      found: `serial 0x${serial.toString(16)}, revoked 2026-02-20T00:00:00Z`,
    });
    expect([accepted, root]).toEqual([false, undefined]);
  });

  test('it is heard although it is old, for the other kind, or beside one that does not name it', async () => {
    const naming = revoking(milan.ask.serial);
    const old = await milan.crl((fields) => stale(naming(fields)));
    expect((await ask([old], 'if-available')).statuses).toEqual(['not-asked', 'fail']);
    expect((await ask([old], 'require')).statuses).toEqual(['fail', 'fail']);
    expect((await ask([good, old], 'require')).statuses).toEqual(['pass', 'fail']);
    const other = { ...(await milan.crl(naming)), covers: 'VLEK' as const };
    expect((await ask([good, other], 'require')).statuses).toEqual(['pass', 'fail']);
  });

  test('it is not heard when it is skipped', async () => {
    const { statuses, accepted, list } = await ask([await milan.crl(revoking(milan.ask.serial))], 'skip');
    expect([statuses, accepted]).toEqual([['not-asked', 'not-asked'], true]);
    expect(list.hint).toMatch(/^skipped, as asked: revoked keys are not found/);
  });
});

describe('without a current list', () => {
  const cases: [string, () => Promise<OfferedRevocationList[]>, string][] = [
    ['none', async () => [], 'no list'],
    [
      'one that has ended',
      async () => [await milan.crl(stale)],
      'one of 2026-02-01T00:00:00Z, the next due 2026-03-01T00:00:00Z',
    ],
    [
      'one that ends this moment',
      async () => [await changed({ nextUpdate: now })],
      'the next due 2026-03-15T00:00:00Z',
    ],
    [
      'one of the future',
      async () => [await changed({ thisUpdate: now + 1000 })],
      'one of 2026-03-15T00:00:01Z',
    ],
    [
      'one without an end',
      async () => [await milan.crl(({ nextUpdate: _, ...fields }) => fields)],
      'without a next one announced',
    ],
    ['one by another ARK', async () => [await genoa.crl()], '1 by another issuer or for another kind of key'],
    [
      'one for VLEKs',
      async () => [{ ...good, covers: 'VLEK' }],
      '1 by another issuer or for another kind of key',
    ],
    [
      'one made for the other address',
      async () => [
        await changed({
          extensions: [
            issuingDistributionPointExtension({
              uris: [revocationListUri(milan.rules, 'VLEK')],
              authoritiesOnly: true,
            }),
          ],
        }),
      ],
      'for another kind of key',
    ],
  ];

  test.each(cases)('%s: `require` refuses', async (_, make, found) => {
    const { list, statuses, accepted } = await ask(await make(), 'require');
    expect(statuses).toEqual(['fail', 'not-asked']);
    expect(list.found).toContain(found);
    expect(accepted).toBe(false);
  });

  test.each(cases)('%s: `if-available` says that it was not done', async (_, make, found) => {
    const { list, revoked, statuses, accepted } = await ask(await make(), 'if-available');
    expect(statuses).toEqual(['not-asked', 'not-asked']);
    expect(list.hint).toContain(`no current list: `);
    expect(list.hint).toContain(found);
    expect(revoked.hint).toContain('no current list to ask');
    expect(accepted).toBe(true);
  });
});

describe('a list that claims to be the ARK’s and cannot be used', () => {
  const cases: [string, () => Promise<OfferedRevocationList>, string][] = [
    [
      'signed by another key',
      async () => (await makeEndorser('Milan', { ...milan.keys, ARK: milan.keys.ASK })).crl(),
      'that the ARK did not sign',
    ],
    [
      'signed by other parameters',
      () =>
        changed({
          signatureAlgorithm: {
            ...amdSignatureAlgorithm,
            hash: 'SHA-256',
            maskHash: 'SHA-256',
            saltLength: 32,
          },
        }),
      'that the ARK did not sign',
    ],
    [
      'whose content was changed',
      async () => ({ ...good, signedBytes: good.signedBytes.with(20, good.signedBytes[20]! ^ 1) }),
      'that the ARK did not sign',
    ],
    [
      'with a critical extension',
      () => changed({ extensions: [{ oid: '2.5.29.27', critical: true, value: new Uint8Array(1) }] }),
      'with the critical extension 2.5.29.27',
    ],
    [
      'for user certificates',
      () =>
        changed({
          extensions: [
            {
              oid: oids.issuingDistributionPoint,
              critical: true,
              value: derSequence(derElement(0x81, Uint8Array.of(0xff))),
            },
          ],
        }),
      'whose scope cannot be read',
    ],
  ];

  test.each(cases.flatMap(([what, make, found]) => modes.map((mode) => [what, mode, make, found] as const)))(
    '%s is refused: %s',
    async (_, mode, make, found) => {
      const { list, statuses, accepted } = await ask([await make()], mode);
      expect(statuses).toEqual(['fail', 'not-asked']);
      expect(list.found).toContain(found);
      expect(accepted).toBe(false);
    },
  );

  test('is refused beside a good one, too', async () => {
    const forged = await cases[0]![1]();
    for (const mode of modes) expect((await ask([good, forged], mode)).statuses).toEqual(['fail', 'pass']);
  });

  test('does not revoke anyone', async () => {
    const forger = await makeEndorser('Milan', { ...milan.keys, ARK: milan.keys.ASK });
    const crl = await forger.crl(revoking(milan.ask.serial));
    expect((await ask([crl], 'if-available')).statuses).toEqual(['fail', 'not-asked']);
  });

  test('with a critical extension in an entry is refused', async () => {
    const crl = await milan.crl(revoking(5n));
    const strange = { oid: '2.5.29.29', critical: true, value: new Uint8Array(1), offset: 0 };
    const [entry] = crl.revoked;
    const { list } = await ask([{ ...crl, revoked: [{ ...entry!, extensions: [strange] }] }], 'require');
    expect(list.found).toContain('with the critical extension 2.5.29.29');
  });
});

describe('which list a key needs', () => {
  test('is told by its kind', () => {
    expect(revocationListUri(milan.rules, 'VCEK')).toBe('https://kds.vouchsafe.invalid/vcek/v1/Milan/crl');
    expect(revocationListUri(milan.rules, 'VLEK')).toBe('https://kds.vouchsafe.invalid/vlek/v1/Milan/crl');
  });

  test.each(['VCEK', 'VLEK'] as const)('%s: the list that covers it, or names its address', async (kind) => {
    expect((await ask([{ ...good, covers: kind }], 'require', kind)).statuses).toEqual(['pass', 'pass']);
    const uris = [revocationListUri(milan.rules, kind)];
    const named = await changed({
      extensions: [issuingDistributionPointExtension({ uris, authoritiesOnly: false })],
    });
    expect((await ask([named], 'require', kind)).statuses).toEqual(['pass', 'pass']);
    const other = kind === 'VCEK' ? 'VLEK' : 'VCEK';
    expect((await ask([{ ...good, covers: other }], 'require', kind)).statuses).toEqual([
      'fail',
      'not-asked',
    ]);
  });

  test('a list is current from its date to the next', () => {
    const list = { thisUpdate: 1000, nextUpdate: 2000 };
    expect([999, 1000, 1999, 2000].map((at) => isCurrentList(list, at))).toEqual([false, true, true, false]);
    expect(isCurrentList({ thisUpdate: 1000, nextUpdate: undefined }, 1500)).toBe(false);
  });
});

test('lists are not asked about a chain that is not there', async () => {
  const evidence = { vek: veks.VCEK, certificates: [milan.ark], crls: [good] };
  const appraisal = await appraiseEndorsement(evidence, {
    roots: [milan.root],
    at: now,
    revocation: 'if-available',
  });
  const [list, revoked] = appraisal.checks.slice(-2);
  expect([list, revoked]).toMatchObject([
    { status: 'fail', found: 'a chain that no list can be asked about' },
    { status: 'fail', found: 'a chain that no list can be asked about' },
  ]);
});
