import { type FlattenedJwe, type ResourcePath, resourcePathText, sealToTeeKey } from '@vouchsafe/protocol';
import type { RandomSource, Secret } from '@vouchsafe/sev';
import { askingOutside } from '../policy/asked-outside.js';
import { decideRelease } from '../policy/decide-release.js';
import type { Decision } from '../policy/decision.js';
import type { ReleaseDemands } from '../policy/demands.js';
import type { ReleasePolicy } from '../policy/release-policy.js';
import type { RulesInForce } from '../policy/rules.js';
import type { Json } from '../record/entry.js';
import type { NotReleasable } from '../secrets/release.js';
import type { Transaction } from '../state/database.js';
import type { BrokerState } from '../state/open.js';
import { type EarIssuer, verifyEarToken } from '../token/ear-token.js';
import type { KeyRing } from '../token/signing-keys.js';
import { chipOf } from './attest.js';
import { type Attestation, type ChallengeSessions, sessionIdOfCookie } from './challenge-sessions.js';
import type { GuestCredentials } from './guest-service.js';
import { ReleaseDeniedError, ResourceAbsentError, SessionRefusedError } from './refused.js';
import { unreleasable } from './unreleasable.js';

export interface ReleaseOptions {
  readonly state: BrokerState;
  readonly sessions: ChallengeSessions;
  readonly rules: RulesInForce;
  readonly demands: ReleaseDemands;
  readonly keys: KeyRing;
  readonly issuer: EarIssuer;
  readonly random: RandomSource;
}

/** Who asks, as far as a release is concerned. */
interface Guest {
  readonly session: string;
  readonly attestation: Attestation;
}

/** Decides and releases. @returns what GET `/resource` does */
export function release(options: ReleaseOptions) {
  const { state, sessions } = options;

  return async (credentials: GuestCredentials, path: ResourcePath): Promise<FlattenedJwe> => {
    const guest = await guestOf(credentials);
    const { secret, attestation } = await decideAndFetch(guest, path);
    try {
      return await sealToTeeKey(secret, attestation.guestKey, { random: options.random });
    } finally {
      secret.zero();
    }
  };

  async function guestOf({ cookie, bearer }: GuestCredentials): Promise<Guest> {
    const now = state.clock.now();
    const ofCookie = sessionIdOfCookie(cookie);
    const session = ofCookie === undefined ? undefined : await sessions.find(state.db.lookups, ofCookie);
    const attested = session?.answer?.attested;
    if (session !== undefined && attested !== undefined && now < session.expiresAt)
      return { session: session.id, attestation: attested };
    if (bearer === undefined) throw new SessionRefusedError();
    const { id } = await verifyEarToken(options.keys, bearer, options.issuer, now);
    const named = await sessions.find(state.db.lookups, id);
    if (named?.answer?.attested === undefined) throw new SessionRefusedError();
    return { session: named.id, attestation: named.answer.attested };
  }

  /** Decision, release and both entries of the record are one transaction; when this resolves they are durable. */
  async function decideAndFetch(
    guest: Guest,
    path: ResourcePath,
  ): Promise<{ readonly secret: Secret; readonly attestation: Attestation }> {
    const outcome = await askingOutside(state.db, (tx, ready) => oneTransaction(tx, guest, path, ready));
    if ('secret' in outcome) return { secret: outcome.secret, attestation: guest.attestation };
    throw 'denied' in outcome ? new ReleaseDeniedError(outcome.denied) : new ResourceAbsentError();
  }

  async function oneTransaction(
    tx: Transaction,
    { session, attestation }: Guest,
    path: ResourcePath,
    ready: (policy: ReleasePolicy) => ReleasePolicy,
  ): Promise<{ readonly secret: Secret } | { readonly denied: string } | { readonly absent: true }> {
    const name = resourcePathText(path);
    const { claims, appraisal, thumbprint } = attestation;
    const machine = claims.tee === 'snp' ? chipOf(claims) : session;
    const question = {
      path,
      claims,
      appraisal,
      machine,
      get tokenClaims() {
        return attestation.tokenClaims;
      },
    };
    const { decision, found } = await decideRelease(tx, options, question, ready);
    const reference = record(tx, decision, { session, name, guestKey: thumbprint });
    if (!decision.allowed) return { denied: reference };
    const outcome = await state.resources.fetchForRelease(tx, {
      path: name,
      found,
      guestKey: thumbprint,
      session,
      machine,
      details: { decision: reference },
    });
    if (outcome.outcome === 'released') return { secret: outcome.secret };
    if (outcome.outcome === 'absent' || outcome.outcome === 'deleted') return { absent: true };
    return { denied: recordUnreleasable(tx, { name, session, why: outcome.outcome, decision: reference }) };
  }

  function record(
    tx: Transaction,
    { allowed, rule, denials, references, policy, demands: compared }: Decision,
    {
      session,
      name,
      guestKey,
    }: { readonly session: string; readonly name: string; readonly guestKey: string },
  ): string {
    return state.record.append(tx, {
      kind: 'decision',
      subject: name,
      body: {
        session,
        guestKey,
        allowed,
        rule,
        ...(policy === undefined ? {} : { policy }),
        references: [...references],
        denials: denials as unknown as Json,
        checks: compared.checks.map(({ id, status }) => `${id} ${status}`),
      },
    });
  }

  /** The policy says yes and the secret itself says no: this has its own number, for the operator to ask about. */
  function recordUnreleasable(
    tx: Transaction,
    found: {
      readonly name: string;
      readonly session: string;
      readonly why: NotReleasable;
      readonly decision: string;
    },
  ): string {
    const { name, session, why, decision } = found;
    const denial = { rule: `resource.${why}`, claim: 'resource', ...unreleasable[why] };
    return state.record.append(tx, {
      kind: 'decision',
      subject: name,
      body: { session, allowed: false, rule: denial.rule, denials: [denial], decision },
    });
  }
}
