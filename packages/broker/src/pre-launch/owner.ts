import type { LaunchBundle, LaunchRequest, MeasurementEvidence, SecretDelivery } from '@vouchsafe/protocol';
import {
  type Appraisal,
  buildSecretPacket,
  type Check,
  createLaunchSession,
  InvalidArgumentError,
  type KeyBytes,
  parseGuestPolicy,
  parseLaunchMeasurement,
  type RandomSource,
  toHex,
  verdict,
} from '@vouchsafe/sev';
import { type ExpectedLaunch, type ExpectedLaunches, expectLaunches } from './expected-launches.js';
import { type LaunchSecret, secretTable } from './launch-secrets.js';
import { appraiseEvidence } from './measurement.js';
import { appraisePlatform, type PlatformExpectations } from './platform.js';
import { endSession, memorySessionStore, type PendingSession, type SessionStore } from './sessions.js';

export interface GuestOwnerOptions extends PlatformExpectations {
  /** Guest policy of every launch. Its ES bit says whether the owner deploys to SEV or to SEV-ES. */
  readonly policy: number;
  /** What the owner would trust, as images, or as what was computed of them elsewhere. */
  readonly images: readonly ExpectedLaunch[] | ExpectedLaunches;
  /** What a launch gets that was accepted: secrets, which remain the caller's to zero, or whoever decides over them. */
  readonly secrets: readonly LaunchSecret[] | LaunchSecretSource;
  readonly random: RandomSource;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** Time from opening a session to its measurement, in milliseconds: ten minutes. */
  readonly sessionLifetime?: number;
  readonly sessions?: SessionStore;
  /** Name of this kind of launch, where an owner has several: a session is good for its own kind only. */
  readonly launch?: string;
  /** Accepts a policy without NODBG: the host can then read the guest, secrets included. */
  readonly allowDebug?: boolean;
  /** Accepts a policy without NOKS: the host can then start other guests under the same memory key. */
  readonly allowKeySharing?: boolean;
  /** Accepts a policy with none of NOSEND, DOMAIN and SEV: the host can then send the guest to any machine. */
  readonly allowMigrationToAnyone?: boolean;
}

/** A launch whose measurement was accepted. */
export interface AcceptedLaunch {
  readonly evidence: MeasurementEvidence;
  readonly appraisal: Appraisal;
  readonly session: PendingSession;
}

/**
 * Decides what a launch gets. The secrets are zeroed once they have been packed; when this resolves with them, their
 * release is durable. A refusal is one more check, which failed.
 */
export type LaunchSecretSource = (
  launch: AcceptedLaunch,
) => Promise<{ readonly secrets: readonly LaunchSecret[] } | { readonly refused: Check }>;

/** The guest owner's side of a pre-launch attestation. */
export interface GuestOwner {
  readonly mode: 'sev' | 'sev-es';
  readonly policy: number;
  /** The digests that the owner computed from its images. */
  readonly expected: ExpectedLaunches;
  /** Whether the roots that it trusts are a development authority's. */
  readonly development: boolean;
  /**
   * Verifies the platform and, when it is accepted, opens a launch session to it: new GODH, TEK, TIK, nonce and IV.
   * @throws MalformedError for certificates that cannot be read
   * @throws UnavailableError when the key service does not answer, or too many sessions are open
   */
  openSession(
    request: LaunchRequest,
  ): Promise<{ readonly appraisal: Appraisal; readonly bundle?: LaunchBundle }>;
  /**
   * Judges the measurement that answers a session. Whatever the verdict, the session is used up and its keys are gone
   * when this resolves; the secret packet exists only when the Appraisal is accepted.
   */
  appraiseMeasurement(
    evidence: MeasurementEvidence,
  ): Promise<{ readonly appraisal: Appraisal; readonly delivery?: SecretDelivery }>;
  /** Zeroes the keys of sessions that were not answered in time. */
  endExpiredSessions(): Promise<void>;
  /** Zeroes the keys of all sessions. */
  close(): Promise<void>;
}

/**
 * A guest owner with its images, policy and secrets.
 * @throws InvalidArgumentError for options that a careful owner would not want, or that cannot work
 */
export async function createGuestOwner(options: GuestOwnerOptions): Promise<GuestOwner> {
  const {
    policy,
    secrets,
    random,
    now,
    sessionLifetime = 600_000,
    sessions = memorySessionStore(),
  } = options;
  const mode = requireCarefulPolicy(options);
  const development = requireOneKindOfRoot(options);
  const { images } = options;
  const expected = 'digests' in images ? images : await expectLaunches(mode, images);
  if (typeof secrets !== 'function') secretTable(secrets).zero();

  async function openSession(request: LaunchRequest) {
    const { appraisal, pdh } = await appraisePlatform(request, policy, options);
    if (pdh === undefined || appraisal.root === undefined) return { appraisal };

    const { godhCertificate, session, tek, tik } = await createLaunchSession({ pdh, policy, random });
    const launchId = toHex(random(16));
    const expiresAt = now() + sessionLifetime;
    const { apiMajor, apiMinor, buildId } = request;
    const pending = {
      launchId,
      expiresAt,
      ...(options.launch === undefined ? {} : { launch: options.launch }),
      policy,
      ...(request.case === 'A' ? { chipId: toHex(request.chipId) } : {}),
      platform: { apiMajor, apiMinor, buildId },
      root: appraisal.root,
      platformChecks: appraisal.checks,
      tek,
      tik,
    };
    try {
      await sessions.expire(now());
      await sessions.add(pending);
    } catch (error) {
      endSession(pending);
      throw error;
    }
    const { vcpus, vcpuSignatures } = expected;
    const bundle: LaunchBundle = {
      launchId,
      policy,
      mode,
      godhCertificate,
      session,
      vcpus: [...vcpus],
      vcpuSignatures: [...vcpuSignatures],
      expires: new Date(expiresAt).toISOString(),
    };
    return { appraisal, bundle };
  }

  async function appraiseMeasurement(evidence: MeasurementEvidence) {
    const taken = await sessions.take(evidence.launchId, now());
    try {
      const appraisal = await appraiseEvidence(evidence, taken, { ...options, digests: expected.digests });
      if (!verdict(appraisal).accepted || taken.state !== 'pending') return { appraisal };

      const { session } = taken;
      const given =
        typeof secrets === 'function' ? await secrets({ evidence, appraisal, session }) : { secrets };
      if ('refused' in given)
        return { appraisal: { ...appraisal, checks: [...appraisal.checks, given.refused] } };
      const { launchId, platform, tek, tik } = session;
      const { measurement } = parseLaunchMeasurement(evidence.measurement);
      try {
        const packet = await packSecrets(given.secrets, { ...platform, tek, tik, measurement });
        return { appraisal, delivery: { launchId, ...packet } };
      } finally {
        if (given.secrets !== secrets) for (const { data } of given.secrets) data.zero();
      }
    } finally {
      if (taken.state === 'pending') endSession(taken.session);
    }
  }

  async function packSecrets(
    entries: readonly LaunchSecret[],
    binding: {
      apiMajor: number;
      apiMinor: number;
      tek: KeyBytes;
      tik: KeyBytes;
      measurement: Uint8Array;
    },
  ) {
    const plaintext = secretTable(entries);
    try {
      return await buildSecretPacket({ ...binding, iv: random(16), plaintext });
    } finally {
      plaintext.zero();
    }
  }

  return {
    mode,
    policy,
    expected,
    development,
    openSession,
    appraiseMeasurement,
    endExpiredSessions: () => sessions.expire(now()),
    close: () => sessions.close(),
  };
}

function requireCarefulPolicy(options: GuestOwnerOptions): 'sev' | 'sev-es' {
  const policy = parseGuestPolicy(options.policy);
  const refuse = (problem: string, hint: string): never => {
    throw new InvalidArgumentError('policy', problem, { hint });
  };
  if (policy.reservedBits !== 0) refuse('it sets reserved bits', 'firmware refuses to launch with them');
  if (!policy.noDebug && options.allowDebug !== true) {
    refuse(
      'it lets the host debug the guest and read its secrets',
      'set NODBG (bit 0), or allow debugging by name',
    );
  }
  if (!policy.noKeySharing && options.allowKeySharing !== true) {
    refuse('it lets other guests share the memory key', 'set NOKS (bit 1), or allow key sharing by name');
  }
  const bound = policy.noSend || policy.domain || policy.sev;
  if (!bound && options.allowMigrationToAnyone !== true) {
    refuse(
      'it lets the host migrate the guest to anyone',
      'set NOSEND (bit 3) or SEV (bit 5), or allow it by name',
    );
  }
  return policy.encryptedState ? 'sev-es' : 'sev';
}

function requireOneKindOfRoot({ roots }: GuestOwnerOptions): boolean {
  if (roots.length === 0) throw new InvalidArgumentError('roots', 'expected at least one trusted root');
  const development = roots.filter(({ kind }) => kind === 'development').length;
  if (development > 0 && roots.length > 1) {
    throw new InvalidArgumentError(
      'roots',
      'an owner trusts AMD’s roots or one development root, never both at once',
    );
  }
  return development > 0;
}
