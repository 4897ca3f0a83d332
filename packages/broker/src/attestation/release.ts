import { type FlattenedJwe, type ResourcePath, resourcePathText, sealToTeeKey } from '@vouchsafe/protocol';
import { type RandomSource, type Secret, UnavailableError } from '@vouchsafe/sev';
import { type Decision, decide } from '../policy/decision.js';
import type { ReleaseDemands } from '../policy/demands.js';
import type { PolicyAnswer, PolicyQuestion, ReleasePolicy } from '../policy/release-policy.js';
import type { RulesInForce } from '../policy/rules.js';
import type { Json } from '../record/entry.js';
import { findResource, type NotReleasable } from '../secrets/release.js';
import { inTransaction, type Transaction } from '../state/database.js';
import type { BrokerState } from '../state/open.js';
import { type EarIssuer, verifyEarToken } from '../token/ear-token.js';
import type { KeyRing } from '../token/signing-keys.js';
import { chipOf } from './attest.js';
import { type Attestation, type ChallengeSessions, sessionIdOfCookie } from './challenge-sessions.js';
import type { GuestCredentials } from './guest-service.js';
import { ReleaseDeniedError, ResourceAbsentError, SessionRefusedError } from './refused.js';

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
  const { state, sessions, demands } = options;

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
    const session = ofCookie === undefined ? undefined : await sessions.find(state.db.query, ofCookie);
    const attested = session?.answer?.attested;
    if (session !== undefined && attested !== undefined && now < session.expiresAt)
      return { session: session.id, attestation: attested };
    if (bearer === undefined) throw new SessionRefusedError();
    const { id } = await verifyEarToken(options.keys, bearer, options.issuer, now);
    const named = await sessions.find(state.db.query, id);
    if (named?.answer?.attested === undefined) throw new SessionRefusedError();
    return { session: named.id, attestation: named.answer.attested };
  }

  /** Decision, release and both entries of the record are one transaction; when this resolves they are durable. */
  async function decideAndFetch(
    guest: Guest,
    path: ResourcePath,
  ): Promise<{ readonly secret: Secret; readonly attestation: Attestation }> {
    const answers = new Map<string, PolicyAnswer>();
    for (let attempt = 0; attempt < greatestAttempts; attempt++) {
      try {
        const outcome = await inTransaction(state.db, (tx) => oneTransaction(tx, guest, path, answers));
        if ('secret' in outcome) return { secret: outcome.secret, attestation: guest.attestation };
        throw 'denied' in outcome ? new ReleaseDeniedError(outcome.denied) : new ResourceAbsentError();
      } catch (error) {
        if (!(error instanceof AskFirst)) throw error;
        answers.set(error.key, await error.ask());
      }
    }
    throw new UnavailableError('release policy', 'what it decides by changes faster than it answers');
  }

  async function oneTransaction(
    tx: Transaction,
    { session, attestation }: Guest,
    path: ResourcePath,
    answers: ReadonlyMap<string, PolicyAnswer>,
  ): Promise<{ readonly secret: Secret } | { readonly denied: string } | { readonly absent: true }> {
    const now = state.clock.now();
    const name = resourcePathText(path);
    const { claims, appraisal, thumbprint, tokenClaims } = attestation;
    const machine = claims.tee === 'snp' ? chipOf(claims) : session;
    const found = await findResource(tx, state.keys, name);
    const counted = await state.resources.machines(tx, name, machine);
    const decision = await options.rules.use(tx.query, now, async (rules) => {
      const policy = rules.policyOf(found?.resource.policy_id ?? undefined);
      return decide({
        claims,
        appraisal,
        referenceDocuments: rules.documents,
        releasePolicy: policy === undefined ? undefined : withAnswers(policy, answers),
        resource: path,
        now,
        demands,
        otherMachines: counted.count - (counted.isKnown ? 1 : 0),
        tokenClaims,
      });
    });
    const reference = record(tx, decision, { session, name, guestKey: thumbprint });
    if (!decision.allowed) return { denied: reference };
    const outcome = await state.resources.fetchForRelease(tx, {
      path: name,
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

const unreleasable: Readonly<Record<NotReleasable, { expected: string; found: string; hint: string }>> = {
  absent: { expected: 'a secret', found: 'none', hint: 'store one: `vouchsafe broker secret put`' },
  deleted: { expected: 'a secret', found: 'one that was deleted', hint: 'store a new version' },
  disabled: {
    expected: 'a version that is enabled',
    found: 'one that is disabled',
    hint: 'enable it: `vouchsafe broker secret enable`',
  },
  'not-yet-valid': {
    expected: 'a version that is valid now',
    found: 'one that is not valid yet',
    hint: 'wait, or store a version with an earlier start',
  },
  expired: {
    expected: 'a version that is valid now',
    found: 'one whose validity has ended',
    hint: 'store a new version',
  },
  'used-up': {
    expected: 'a release that is left, or the key and session that had one',
    found: 'all of them used by other keys or sessions',
    hint: 'store a new version, if this guest should have it too',
  },
};

/** How often the answer of a slow policy may grow old before it is used. */
const greatestAttempts = 5;

/**
 * Thrown inside the transaction where a policy that takes its time has to be asked: it is asked outside, and the
 * transaction begun again.
 */
class AskFirst extends Error {
  readonly key: string;
  readonly ask: () => Promise<PolicyAnswer>;

  constructor(key: string, ask: () => Promise<PolicyAnswer>) {
    super('a policy has to be asked first');
    this.key = key;
    this.ask = ask;
  }
}

function withAnswers(policy: ReleasePolicy, answers: ReadonlyMap<string, PolicyAnswer>): ReleasePolicy {
  if (policy.language !== 'compiled-rego') return policy;
  return {
    ...policy,
    async ask(question) {
      const key = keyOf(policy, question);
      const known = answers.get(key);
      if (known === undefined) throw new AskFirst(key, () => policy.ask(question));
      return known;
    },
  };
}

/** Everything that the question depends on but the moment, which has moved on when the transaction begins again. */
function keyOf({ id }: ReleasePolicy, { now: _, ...question }: PolicyQuestion): string {
  return JSON.stringify([id, question]);
}
