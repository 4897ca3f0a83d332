import type { MeasurementEvidence } from '@vouchsafe/protocol';
import {
  type ApiVersion,
  type Appraisal,
  Appraiser,
  apiVersionText,
  appraiseLaunchMeasurement,
  checkTable,
  type ExpectedLaunchDigest,
  launchMeasurementChecks,
  parseGuestPolicy,
  verdict,
} from '@vouchsafe/sev';
import type { PendingSession, TakenSession } from './sessions.js';

export const sessionChecks = checkTable({
  'session.known': {
    title: 'session was opened by this owner',
    protects: 'a measurement under keys that the host chose could ask for the secret',
    hint: 'ask for a session and launch with it',
    kind: 'authenticity',
  },
  'session.unused': {
    title: 'session has not been answered before',
    protects:
      'a second launch under the same keys could pass with the measurement of the first, and a repeated IV gives secrets away',
    hint: 'ask for a new session for every launch; any measurement, a refused one included, uses a session up',
    kind: 'authenticity',
  },
  'session.unexpired': {
    title: 'session has not expired',
    protects: 'keys that are kept for ever are found one day',
    hint: 'ask for a new session and launch with it at once',
    kind: 'authenticity',
  },
  'session.launch': {
    title: 'session was opened for this kind of launch',
    protects:
      'a host could ask for a session with the policy of one kind of launch, and for the secrets of another',
    hint: 'ask for a session where the measurement is reported',
    kind: 'authenticity',
  },
  'session.firmware': {
    title: 'firmware is the one that was announced',
    protects: 'a host could get its session for one firmware and launch on another',
    hint: 'do not update the platform’s firmware between asking for a session and launching',
    kind: 'authenticity',
  },
  'session.policy': {
    title: 'policy is the one that the owner bound',
    protects: 'a host could launch with a policy that lets it debug, share keys or read registers',
    hint: 'launch with the policy of the launch bundle',
    kind: 'authenticity',
  },
});

export interface MeasurementExpectations {
  readonly digests: readonly ExpectedLaunchDigest[];
  readonly minimumApi?: ApiVersion;
  readonly allowApiBelow017?: boolean;
  readonly expectedBuilds?: readonly number[];
  /** Which of the owner's kinds of launch this is, where there are several. */
  readonly launch?: string;
}

/** The verdict over measurement evidence: what the store says of its session, then the measurement under its keys. */
export async function appraiseEvidence(
  evidence: MeasurementEvidence,
  taken: TakenSession,
  expectations: MeasurementExpectations,
): Promise<Appraisal> {
  const subject = 'launch measurement';
  const ofSession = appraiseSession(evidence, taken, expectations.launch);
  if (taken.state !== 'pending') {
    return { subject, checks: [...ofSession.checks, ...(await unmeasured(taken.state)).checks] };
  }
  const { session } = taken;
  const ofMeasurement = verdict(ofSession).accepted
    ? await appraiseMeasurementOf(session, evidence, expectations)
    : await unmeasured('not the launch that the session was opened for');
  return {
    subject,
    root: session.root,
    checks: [...session.platformChecks, ...ofSession.checks, ...ofMeasurement.checks],
  };
}

function appraiseSession(
  evidence: MeasurementEvidence,
  taken: TakenSession,
  launch: string | undefined,
): Appraisal {
  const appraiser = new Appraiser('launch session', sessionChecks);
  const { state } = taken;
  appraiser.report('session.known', state !== 'unknown', {
    expected: 'a launch id that this owner gave',
    found: state === 'unknown' ? 'another, or one that is long forgotten' : 'one of its own',
  });
  if (state === 'unknown') {
    appraiser.abandon('no such session');
    return appraiser.finish();
  }
  appraiser.report('session.unused', state !== 'used', {
    expected: 'the first answer to the session',
    found: state === 'used' ? 'another answer to it' : 'the first answer',
  });
  appraiser.report('session.unexpired', state !== 'expired', {
    expected: 'an answer in time',
    found: state === 'expired' ? 'an answer after the session had ended' : 'an answer in time',
  });
  if (state !== 'pending') {
    appraiser.abandon('the session has ended');
    return appraiser.finish();
  }
  const { platform, policy } = taken.session;
  appraiser.report('session.launch', taken.session.launch === launch, {
    expected: launch ?? 'the one kind there is',
    found: taken.session.launch ?? 'the one kind there is',
  });
  const same =
    platform.apiMajor === evidence.apiMajor &&
    platform.apiMinor === evidence.apiMinor &&
    platform.buildId === evidence.buildId;
  appraiser.report('session.firmware', same, {
    expected: versionText(platform),
    found: versionText(evidence),
  });
  appraiser.report('session.policy', evidence.policy === policy, {
    expected: policyText(policy),
    found: policyText(evidence.policy),
  });
  return appraiser.finish();
}

function appraiseMeasurementOf(
  { policy, platform, tik }: PendingSession,
  evidence: MeasurementEvidence,
  { digests, minimumApi, allowApiBelow017, expectedBuilds }: MeasurementExpectations,
): Promise<Appraisal> {
  const expectedBuild = expectedBuilds?.includes(platform.buildId) ? platform.buildId : expectedBuilds?.[0];
  return appraiseLaunchMeasurement({
    blob: evidence.measurement,
    tik,
    policy,
    expectedDigests: digests,
    platform,
    ...(minimumApi === undefined ? {} : { minimumApi }),
    ...(allowApiBelow017 === undefined ? {} : { allowApiBelow017 }),
    ...(expectedBuild === undefined ? {} : { expectedBuild }),
  });
}

async function unmeasured(why: string): Promise<Appraisal> {
  const appraiser = new Appraiser('launch measurement', launchMeasurementChecks);
  appraiser.abandon(`not examined: ${why}`);
  return appraiser.finish();
}

const versionText = (version: ApiVersion & { readonly buildId: number }) =>
  `API ${apiVersionText(version)} build ${version.buildId}`;

const policyText = (word: number) => `0x${parseGuestPolicy(word).word.toString(16)}`;
