import { rcarRequest, rcarVersion, teeNamed } from '@vouchsafe/protocol';
import type { RandomSource } from '@vouchsafe/sev';
import type { BrokerMetrics } from '../http/metrics.js';
import { inTransaction } from '../state/database.js';
import type { BrokerState } from '../state/open.js';
import { type AttestOptions, attestation } from './attest.js';
import type { ChallengeSessions } from './challenge-sessions.js';
import type { Challenge, GuestService } from './guest-service.js';
import {
  ChallengeRefusedError,
  EvidenceRefusedError,
  ReleaseDeniedError,
  ResourceAbsentError,
} from './refused.js';
import { type ReleaseOptions, release } from './release.js';

export interface GuestServiceOptions
  extends Omit<AttestOptions, 'state' | 'sessions'>,
    Omit<ReleaseOptions, 'state' | 'sessions'> {
  readonly state: BrokerState;
  readonly sessions: ChallengeSessions;
  readonly random: RandomSource;
  /** From a challenge to the end of its session, in milliseconds. */
  readonly sessionLifetime: number;
  readonly metrics: BrokerMetrics;
}

/** Run-time attestation and release over the broker's state. */
export function guestService(options: GuestServiceOptions): GuestService {
  const { metrics } = options;
  const attest = attestation(options);
  const releaseTo = release(options);

  return {
    async challenge(body) {
      try {
        const challenge = await openSession(body);
        metrics.challenge('given');
        return challenge;
      } catch (error) {
        metrics.challenge('refused');
        throw error;
      }
    },
    async attest(cookie, body) {
      try {
        const attested = await attest(cookie, body);
        metrics.attestation('accepted', servedTee);
        return attested;
      } catch (error) {
        if (error instanceof EvidenceRefusedError) metrics.attestation('refused', servedTee);
        throw error;
      }
    },
    async release(credentials, path) {
      try {
        const sealed = await releaseTo(credentials, path);
        metrics.decision('allowed');
        metrics.release('released');
        return sealed;
      } catch (error) {
        if (error instanceof ReleaseDeniedError) metrics.decision('denied');
        if (error instanceof ResourceAbsentError) {
          metrics.decision('allowed');
          metrics.release('absent');
        }
        throw error;
      }
    },
  };

  async function openSession(body: string): Promise<Challenge> {
    const { version, tee } = rcarRequest.parseText(body);
    if (version !== rcarVersion)
      throw new ChallengeRefusedError('request.version', `protocol version ${rcarVersion}`, visible(version));
    if (teeNamed(tee) !== servedTee)
      throw new ChallengeRefusedError('request.tee', `TEE ${servedTee}, the one served here`, visible(tee));
    const { state, sessions, random } = options;
    const now = state.clock.now();
    const expiresAt = now + options.sessionLifetime;
    return inTransaction(state.db, async (tx) => {
      const { cookie, id, nonce } = await sessions.open(tx, { tee: servedTee, now, expiresAt, random });
      state.record.append(tx, {
        kind: 'challenge',
        subject: id,
        body: { session: id, tee: servedTee, nonce },
      });
      return { cookie, expiresAt, nonce };
    });
  }
}

/** The one kind of TEE that attests at run time here; SEV and SEV-ES do so before launch. */
const servedTee = 'snp';

const visible = (text: string) => JSON.stringify(text.slice(0, 64));
