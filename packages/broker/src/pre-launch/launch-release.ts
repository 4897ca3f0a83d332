import { createHash } from 'node:crypto';
import { type MeasurementEvidence, parseResourcePath } from '@vouchsafe/protocol';
import {
  type Appraisal,
  type Check,
  constantTimeEqual,
  type ExpectedLaunchDigest,
  InvalidArgumentError,
  measureLaunch,
  parseGuestPolicy,
  parseLaunchMeasurement,
  toBase64,
  toHex,
} from '@vouchsafe/sev';
import type { PreLaunchClaims } from '../attestation/claims.js';
import { unreleasable } from '../attestation/unreleasable.js';
import { askingOutside } from '../policy/asked-outside.js';
import { decideRelease } from '../policy/decide-release.js';
import type { Decision } from '../policy/decision.js';
import type { ReleaseDemands } from '../policy/demands.js';
import type { Denial, ReleasePolicy } from '../policy/release-policy.js';
import type { RulesInForce } from '../policy/rules.js';
import type { Json } from '../record/entry.js';
import { inTransaction, type Transaction } from '../state/database.js';
import type { BrokerState } from '../state/open.js';
import type { LaunchKind } from './launch-kind.js';
import { type LaunchSecret, secretTable } from './launch-secrets.js';
import type { AcceptedLaunch, LaunchSecretSource } from './owner.js';
import type { PendingSession } from './sessions.js';

export interface LaunchReleaseOptions {
  readonly state: BrokerState;
  readonly rules: RulesInForce;
  readonly demands: ReleaseDemands;
  /** Name of the kind of launch. */
  readonly launch: string;
  readonly kind: LaunchKind;
  readonly digests: readonly ExpectedLaunchDigest[];
}

/** Names a launch session in the record: its id would use it up, and nobody who reads the record shall. */
export function launchSessionName(launchId: string): string {
  return createHash('sha256').update('vouchsafe launch session').update(launchId).digest('hex');
}

/** The check that stands for the decision in what a host is told. */
const releaseCheck = {
  id: 'release.decision',
  title: 'owner’s policies release every secret of the launch',
  kind: 'expectation',
  expected: 'yes',
} as const;

/**
 * Decides over the secrets of a launch that was measured, by the same rules as for guests that run. All of them are
 * released, in one transaction with their entries in the record, or none.
 */
export function launchRelease(options: LaunchReleaseOptions): LaunchSecretSource {
  const { state, kind } = options;

  return async (launch) => {
    const claims = await claimsOf(launch, options.digests);
    try {
      const secrets = await askingOutside(state.db, (tx, ready) => releaseAll(tx, launch, claims, ready));
      return { secrets };
    } catch (error) {
      if (!(error instanceof Denied)) throw error;
      const reference = await inTransaction(state.db, async (tx) => recordDenial(tx, launch, error));
      const found = `no; the operator can explain number ${reference}`;
      return {
        refused: {
          ...releaseCheck,
          status: 'fail',
          found,
          hint: 'ask the owner: `vouchsafe broker explain NUMBER` says why',
        } satisfies Check,
      };
    }
  };

  async function releaseAll(
    tx: Transaction,
    launch: AcceptedLaunch,
    claims: PreLaunchClaims,
    ready: (policy: ReleasePolicy) => ReleasePolicy,
  ): Promise<LaunchSecret[]> {
    const session = launchSessionName(launch.evidence.launchId);
    recordMeasurement(tx, options, { ...launch, accepted: true });
    const released: LaunchSecret[] = [];
    for (const { guid, resource } of kind.secrets) {
      const machine = machineOf(claims, session);
      const question = { path: parseResourcePath(resource), claims, appraisal: launch.appraisal, machine };
      const { decision, found } = await decideRelease(tx, options, question, ready);
      if (!decision.allowed) throw new Denied(resource, decision.rule, decision.denials);
      const reference = recordDecision(tx, resource, session, decision);
      const outcome = await state.resources.fetchForRelease(tx, {
        path: resource,
        found,
        guestKey: session,
        session,
        machine,
        details: { decision: reference, launch: options.launch },
      });
      if (outcome.outcome !== 'released') {
        const denial = {
          rule: `resource.${outcome.outcome}`,
          claim: 'resource',
          ...unreleasable[outcome.outcome],
        };
        throw new Denied(resource, denial.rule, [denial]);
      }
      released.push({ guid, data: outcome.secret });
    }
    requireFit(released);
    return released;
  }

  function recordDecision(tx: Transaction, resource: string, session: string, decision: Decision): string {
    const { rule, policy } = decision;
    return state.record.append(tx, {
      kind: 'decision',
      subject: resource,
      body: {
        session,
        launch: options.launch,
        allowed: true,
        rule,
        ...(policy === undefined ? {} : { policy }),
      },
    });
  }

  /** What was decided and would have been released is not: the transaction of that is gone, and this stands for it. */
  function recordDenial(
    tx: Transaction,
    launch: AcceptedLaunch,
    { resource, rule, denials }: Denied,
  ): string {
    const session = launchSessionName(launch.evidence.launchId);
    recordMeasurement(tx, options, { ...launch, accepted: true });
    return state.record.append(tx, {
      kind: 'decision',
      subject: resource,
      body: { session, launch: options.launch, allowed: false, rule, denials: denials as unknown as Json },
    });
  }
}

/** What does not fit a packet is found before it counts as released. */
function requireFit(secrets: readonly LaunchSecret[]): void {
  try {
    secretTable(secrets).zero();
  } catch (error) {
    if (!(error instanceof InvalidArgumentError)) throw error;
    const denial = {
      rule: 'launch.packet',
      claim: 'secrets',
      expected: 'secrets that fit one packet together',
      found: error.message,
      hint: 'give the launch fewer secrets, or shorter ones',
    };
    throw new Denied('secrets', denial.rule, [denial]);
  }
}

/** A secret of the launch that it does not get, so that it gets none. */
class Denied extends Error {
  readonly resource: string;
  readonly rule: string;
  readonly denials: readonly Denial[];

  constructor(resource: string, rule: string, denials: readonly Denial[]) {
    super('denied');
    this.resource = resource;
    this.rule = rule;
    this.denials = denials;
  }
}

/** Writes the verdict over a measurement into the record. @returns its number */
export function recordMeasurement(
  tx: Transaction,
  { state, launch }: Pick<LaunchReleaseOptions, 'state' | 'launch'>,
  found: {
    readonly evidence: MeasurementEvidence;
    readonly appraisal: Appraisal;
    readonly accepted: boolean;
  },
): string {
  const { evidence, appraisal, accepted } = found;
  const { launchId, measurement, ...announced } = evidence;
  return state.record.append(tx, {
    kind: 'launch',
    subject: `launch ${launch}`,
    body: {
      event: 'measurement',
      session: launchSessionName(launchId),
      accepted,
      appraisal: appraisal as unknown as Json,
      evidence: { measurement: toBase64(measurement), ...announced },
    },
  });
}

/** Without the chip's id, each launch counts as a machine of its own. */
const machineOf = ({ chipId }: PreLaunchClaims, session: string): string => chipId ?? `launch ${session}`;

async function claimsOf(
  { evidence, appraisal, session }: AcceptedLaunch,
  digests: readonly ExpectedLaunchDigest[],
): Promise<PreLaunchClaims> {
  const match = await measuredDigest(evidence, session, digests);
  const { apiMajor: major, apiMinor: minor, buildId: build } = session.platform;
  const policy = parseGuestPolicy(session.policy);
  return {
    tee: policy.encryptedState ? 'sev-es' : 'sev',
    ...(appraisal.root === undefined ? {} : { root: appraisal.root }),
    api: { major, minor },
    build,
    ...(match === undefined ? {} : { launch: match.name, measurement: toHex(match.digest) }),
    ...(session.chipId === undefined ? {} : { chipId: session.chipId }),
    policy: {
      noDebug: policy.noDebug,
      noKeySharing: policy.noKeySharing,
      encryptedState: policy.encryptedState,
      noSend: policy.noSend,
      domain: policy.domain,
      sev: policy.sev,
    },
  };
}

/** Which of the expected launches was measured. */
async function measuredDigest(
  evidence: MeasurementEvidence,
  { tik, policy, platform }: PendingSession,
  digests: readonly ExpectedLaunchDigest[],
): Promise<ExpectedLaunchDigest | undefined> {
  const { measurement, mnonce } = parseLaunchMeasurement(evidence.measurement);
  for (const expected of digests) {
    const value = await measureLaunch({ ...platform, tik, policy, launchDigest: expected.digest, mnonce });
    if (constantTimeEqual(value, measurement)) return expected;
  }
  return undefined;
}
