import {
  type Appraisal,
  amdEndorsementRoots,
  appraiseReport,
  type EndorsementRoot,
  endorse,
  fromHex,
  MalformedError,
  type OfferedRevocationList,
  type RevocationMode,
  toHex,
  verdict,
  type X509RevocationList,
} from '@vouchsafe/sev';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  day,
  type EndorserKeys,
  makeEndorser,
  type TestEndorser,
  testEndorserKeys,
} from '../../../sev/src/testing/endorsements.js';
import { filled, makeReport, type TestReport } from '../../../sev/src/testing/reports.js';
import { cedarReleasePolicy } from '../policy/cedar/release-policy.js';
import { decide } from '../policy/decision.js';
import { defaultDemands } from '../policy/demands.js';
import { someClaims } from '../testing/questions.js';
import { someDocument } from '../testing/reference-values.js';
import { type InitDataClaims, snpClaims } from './claims.js';
import { revocationVerdict } from './revocation-verdict.js';

let keys: EndorserKeys;
let endorser: TestEndorser;
const today = day('2026-03-15');

beforeAll(async () => {
  keys = testEndorserKeys();
  endorser = await makeEndorser('Milan', keys);
});

interface Question extends TestReport {
  readonly roots?: readonly EndorsementRoot[];
  readonly lists?: readonly X509RevocationList[];
  readonly at?: number;
  readonly revocation?: RevocationMode;
  readonly kind?: 'VCEK' | 'VLEK';
  readonly expectations?: { readonly hostData?: Uint8Array; readonly reportData?: Uint8Array };
  readonly initData?: InitDataClaims;
}

async function endorsementOf(question: Question = {}) {
  const { roots = [endorser.root], lists = [await endorser.crl()], revocation = 'if-available' } = question;
  const vek = await endorser.vek(question.kind ?? 'VCEK');
  const certificates = [endorser.ask, endorser.asvk, endorser.ark].map(({ raw }) => raw);
  const crls: OfferedRevocationList[] = [...lists];
  const at = question.at ?? today;
  return {
    endorsement: await endorse({ vek: vek.raw, certificates, crls }, { roots, at, revocation }),
    lists,
    at,
  };
}

async function attested(question: Question = {}) {
  const { endorsement, lists, at } = await endorsementOf(question);
  const report = await makeReport(endorser.vekKey, question);
  const expectations = { reportData: filled(64, 0xda), ...question.expectations };
  const appraisal = await appraiseReport(report, endorsement, { at, expectations });
  const revocation = await revocationVerdict(endorsement, lists, at);
  const { vek } = endorsement;
  const claims = snpClaims({
    report,
    appraisal,
    vek,
    revocation,
    initData: question.initData,
    guestKey: 'k',
  });
  return { claims, appraisal };
}

describe('the claims of a report', () => {
  it('say everything that stands in it', async () => {
    const { claims, appraisal } = await attested();
    expect(verdict(appraisal).failed).toEqual([]);
    const tcb = claims.tcb.reported;
    expect(claims).toEqual({
      tee: 'snp',
      root: {
        name: 'Vouchsafe Development, Milan',
        kind: 'development',
        fingerprint: endorser.root.arkSha256,
      },
      revocation: { status: 'good', asOf: '2026-03-15T00:00:00Z' },
      reportVersion: 5,
      measurement: '3e'.repeat(48),
      reportData: 'da'.repeat(64),
      hostData: '05'.repeat(32),
      familyId: 'fa'.repeat(16),
      imageId: '1a'.repeat(16),
      guestSvn: 5,
      vmpl: 1,
      idKeyDigest: '1d'.repeat(48),
      authorKeyDigest: 'a0'.repeat(48),
      policy: someClaims().policy,
      platform: someClaims().platform,
      tcb: { reported: tcb, committed: tcb, current: tcb, launch: tcb },
      firmware: { current: '1.55.29', committed: '1.55.29' },
      mitigations: { launch: [0, 1, 3], current: [0, 1, 2, 3] },
      signer: { kind: 'VCEK', authorKeyEnabled: true, maskChipKey: false },
      productLine: 'Milan',
      processor: { family: 0x19, model: 1, stepping: 1 },
      chipId: claims.chipId,
      reportId: '21'.repeat(32),
      guestKey: 'k',
    });
    expect(tcb).toEqual((await endorsementOf()).endorsement.vek?.tcb);
    expect(claims.chipId).toMatch(/^[0-9a-f]{128}$/);
    expect(JSON.parse(JSON.stringify(claims))).toEqual(claims);
  });

  it('leave out what the report has not', async () => {
    const fields = { idKeyDigest: new Uint8Array(48), authorKeyDigest: new Uint8Array(48) };
    const { claims } = await attested({ fields, version2: true });
    for (const name of [
      'idKeyDigest',
      'authorKeyDigest',
      'mitigations',
      'processor',
      'migrationAgent',
      'initData',
    ])
      expect(Object.keys(claims)).not.toContain(name);
    expect(claims).toMatchObject({ reportVersion: 2, productLine: 'Milan' });
  });

  it('name the chip by its certificate where the host masks it', async () => {
    const masked = await attested({ fields: { chipId: new Uint8Array(64) } });
    expect(masked.claims.chipId).toBe((await attested()).claims.chipId);
    const lent = { kind: 'VLEK', signingKey: 'VLEK', fields: { chipId: new Uint8Array(64) } } as const;
    const { claims } = await attested(lent);
    expect(claims.chipId).toBeUndefined();
    expect(claims.signer).toMatchObject({ kind: 'VLEK', operator: expect.stringContaining('CN=') });
  });

  it('name a migration agent', async () => {
    const { claims } = await attested({ fields: { reportIdMa: filled(32, 7) } });
    expect(claims.migrationAgent).toBe('07'.repeat(32));
  });

  it('hold init-data only where the Appraisal compared its digest', async () => {
    const initData: InitDataClaims = {
      algorithm: 'sha256',
      digest: '05'.repeat(32),
      data: { 'aa.toml': '' },
    };
    const hostData = fromHex(initData.digest);
    expect((await attested({ initData, expectations: { hostData } })).claims.initData).toEqual(initData);
    expect((await attested({ initData })).claims.initData).toBeUndefined();
    const other = { hostData: filled(32, 6) };
    expect((await attested({ initData, expectations: other })).claims.initData).toBeUndefined();
  });

  it('are none of what cannot be read', () => {
    const appraisal: Appraisal = { subject: 'report', checks: [] };
    const input = { appraisal, revocation: { status: 'unknown' } as const };
    expect(() => snpClaims({ ...input, report: new Uint8Array(1184) })).toThrow(MalformedError);
  });
});

describe('the revocation verdict', () => {
  const verdictOf = async (question: Question) => {
    const { endorsement, lists, at } = await endorsementOf(question);
    return revocationVerdict(endorsement, lists, at);
  };
  const revoked = async () =>
    endorser.crl((fields) => ({
      ...fields,
      revoked: [{ serial: endorser.ask.serial, revokedAt: day('2026-03-02') }],
    }));

  it('is as of now with a current list', async () => {
    expect(await verdictOf({})).toEqual({ status: 'good', asOf: '2026-03-15T00:00:00Z' });
  });

  it('is as of the end of the newest list that there was', async () => {
    const older = await endorser.crl((fields) => ({
      ...fields,
      thisUpdate: day('2026-02-10'),
      nextUpdate: day('2026-03-05'),
    }));
    const lists = [older, await endorser.crl()];
    const at = day('2026-06-01');
    expect(await verdictOf({ lists, at })).toEqual({ status: 'good', asOf: '2026-04-01T00:00:00Z' });
    expect(await verdictOf({ lists: [older], at })).toEqual({ status: 'good', asOf: '2026-03-05T00:00:00Z' });
  });

  it('is that a key was revoked, also by a list that is no longer current', async () => {
    const lists = [await revoked()];
    expect(await verdictOf({ lists })).toEqual({ status: 'revoked' });
    expect(await verdictOf({ lists, at: day('2026-06-01') })).toEqual({ status: 'revoked' });
    expect(await verdictOf({ lists: [await endorser.crl(), ...lists], at: day('2026-06-01') })).toEqual({
      status: 'revoked',
    });
  });

  it('is unknown without a list, with one by a stranger, and where none was asked', async () => {
    const others = { ARK: keys.ASK, ASK: keys.ARK, ASVK: keys.ASVK };
    const stranger = await makeEndorser('Milan', others);
    expect(await verdictOf({ lists: [] })).toEqual({ status: 'unknown' });
    expect(await verdictOf({ lists: [await stranger.crl()] })).toEqual({ status: 'unknown' });
    expect(await verdictOf({ revocation: 'skip' })).toEqual({ status: 'unknown' });
    expect(await verdictOf({ roots: [] })).toEqual({ status: 'unknown' });
  });

  it('is not good before the list was issued', async () => {
    expect(await verdictOf({ at: day('2026-02-15') })).toEqual({ status: 'unknown' });
  });
});

describe('evidence of a software processor', () => {
  const permit = cedarReleasePolicy('permit (principal, action, resource);');
  const document = someDocument({
    notBefore: '2026-03-01T00:00:00Z',
    notAfter: '2026-04-01T00:00:00Z',
    measurements: [{ value: toHex(filled(48, 0x3e)) }],
  });
  const decided = async (question: Question, root: 'amd' | 'development') =>
    decide({
      ...(await attested({ fields: { vmpl: 0 }, ...question })),
      referenceDocuments: [document],
      releasePolicy: permit,
      resource: { repository: 'a', type: 'b', tag: 'c' },
      now: today,
      demands: { ...defaultDemands, root },
    });

  it('gets a secret of its development broker', async () => {
    expect(await decided({}, 'development')).toMatchObject({ allowed: true, denials: [] });
  });

  it('is refused by a broker that trusts AMD’s roots, at the root', async () => {
    const { allowed, rule, demands } = await decided({ roots: amdEndorsementRoots }, 'amd');
    expect({ allowed, rule }).toEqual({ allowed: false, rule: 'endorsement.ark.root' });
    expect(verdict(demands).failed.map(({ id }) => id)).toContain('demand.root');
  });

  it('is refused by AMD’s broker even where somebody put the root among the trusted ones', async () => {
    const { allowed, rule } = await decided({ roots: [...amdEndorsementRoots, endorser.root] }, 'amd');
    expect({ allowed, rule }).toEqual({ allowed: false, rule: 'demand.root' });
  });

  it('is refused when it asks again after the list has ended and the grace, too', async () => {
    const later = {
      at: day('2026-03-20'),
      lists: [await endorser.crl((fields) => ({ ...fields, nextUpdate: day('2026-03-18') }))],
    };
    const within = { ...later, at: day('2026-03-18') + 86_400_000 };
    const ask = async (question: Question) =>
      decide({
        ...(await attested({ fields: { vmpl: 0 }, ...question })),
        referenceDocuments: [document],
        releasePolicy: permit,
        resource: { repository: 'a', type: 'b', tag: 'c' },
        now: question.at ?? today,
        demands: { ...defaultDemands, root: 'development' },
      });
    expect(await ask(later)).toMatchObject({ allowed: false, rule: 'demand.revocation' });
    expect(await ask(within)).toMatchObject({ allowed: true });
  });
});
