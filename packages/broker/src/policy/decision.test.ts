import { verdict } from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import type { PreLaunchClaims } from '../attestation/claims.js';
import { check, claims, decided, documents, evidence, permit } from '../testing/decisions.js';
import { hex } from '../testing/questions.js';
import { cedarReleasePolicy } from './cedar/release-policy.js';
import { demandChecks, demandedClaims } from './demands.js';

describe('a decision', () => {
  it('is yes where every demand is met and a rule permits', async () => {
    const decision = await decided();
    expect(decision).toMatchObject({
      allowed: true,
      rule: 'all',
      denials: [],
      references: ['releases@example.org/web'],
      policy: permit.id,
    });
    expect(verdict(decision.demands)).toMatchObject({ accepted: true });
    expect(decision.demands.checks.map(({ id, status }) => [id, status])).toEqual([
      ['demand.evidence', 'pass'],
      ['demand.root', 'pass'],
      ['demand.report-data', 'pass'],
      ['demand.vmpl', 'pass'],
      ['demand.revocation', 'pass'],
      ['demand.measurement', 'pass'],
      ['demand.reference-validity', 'pass'],
      ['demand.id-key', 'not-asked'],
      ['demand.host-data', 'not-asked'],
      ['demand.tcb', 'not-asked'],
    ]);
  });

  it('is no without a release policy, and says how to set one', async () => {
    expect(await decided({ releasePolicy: undefined })).toMatchObject({
      allowed: false,
      rule: 'deny-by-default',
      denials: [{ rule: 'deny-by-default', claim: 'resource', found: 'none for app/key/disk' }],
    });
  });

  it('is no where no rule permits, though every demand is met', async () => {
    const releasePolicy = cedarReleasePolicy(
      '@id("x") permit (principal is SnpGuest, action, resource) when { principal.vmpl == 3 };',
    );
    const decision = await decided({ releasePolicy });
    expect(decision).toMatchObject({
      allowed: false,
      rule: 'deny-by-default',
      denials: [{ rule: 'x', claim: 'vmpl' }],
    });
    expect(verdict(decision.demands).accepted).toBe(true);
  });

  it('names everything that stands in the way at once', async () => {
    const { allowed, rule, denials } = await decided({
      ...claims({ vmpl: 2, measurement: hex(48, 'b') }),
      appraisal: evidence([check('report.signature', 'fail', 'the signature is not valid')]),
      releasePolicy: undefined,
    });
    expect({ allowed, rule }).toEqual({ allowed: false, rule: 'report.signature' });
    expect(denials.map((each) => each.rule)).toEqual([
      'report.signature',
      'demand.vmpl',
      'demand.measurement',
      'demand.reference-validity',
      'deny-by-default',
    ]);
    expect(denials[0]).toEqual({
      rule: 'report.signature',
      claim: 'report.signature',
      expected: 'that',
      found: 'the signature is not valid',
    });
  });

  it('is plain JSON, for the record', async () => {
    const decision = await decided({ ...claims({ vmpl: 2 }), releasePolicy: undefined });
    expect(JSON.parse(JSON.stringify(decision))).toEqual(decision);
  });

  it('has a claim for every demand', () => {
    expect(Object.keys(demandedClaims)).toEqual(Object.keys(demandChecks));
  });
});

describe('a launch before the guest ran', () => {
  const launched: PreLaunchClaims = {
    tee: 'sev-es',
    api: { major: 0, minor: 24 },
    build: 13,
    launch: 'web server 12',
    policy: {
      noDebug: true,
      noKeySharing: true,
      encryptedState: true,
      noSend: true,
      domain: false,
      sev: true,
    },
  };

  it('is held to its evidence, its root and the owner’s launches', async () => {
    const decision = await decided({ claims: launched, ...documents() });
    expect(decision).toMatchObject({ allowed: true, references: [] });
    const asked = decision.demands.checks.filter(({ status }) => status === 'pass');
    expect(asked.map(({ id }) => id)).toEqual(['demand.evidence', 'demand.root', 'demand.measurement']);
  });

  it('is refused when its measurement was of no launch', async () => {
    const { launch: _launch, ...unmeasured } = launched;
    expect(await decided({ claims: unmeasured })).toMatchObject({
      allowed: false,
      rule: 'demand.measurement',
    });
    const failed = evidence([check('launch.measurement', 'fail')]);
    expect(await decided({ claims: launched, appraisal: failed })).toMatchObject({
      allowed: false,
      rule: 'launch.measurement',
    });
  });
});
