import {
  parseSnpEvidence,
  type RcarAttestation,
  rcarAttestation,
  reportDataOf,
  requireUsableTeeKey,
  type SnpPrimaryEvidence,
  teeKeyThumbprint,
} from '@vouchsafe/protocol';
import { type Appraisal, Appraiser, constantTimeEqual, toBase64, verdict } from '@vouchsafe/sev';
import { appraiseDemands, type ReleaseDemands } from '../policy/demands.js';
import type { Rules, RulesInForce } from '../policy/rules.js';
import { trusteeTrustVector } from '../policy/trustee/attestation-policy.js';
import type { Json } from '../record/entry.js';
import { namedReferenceValue, referenceValuesAt } from '../reference-values/in-force.js';
import { inTransaction, type Transaction } from '../state/database.js';
import type { BrokerState } from '../state/open.js';
import { type EarIssuer, earClaims, signEarToken } from '../token/ear-token.js';
import type { KeyRing } from '../token/signing-keys.js';
import type { TrustVector } from '../token/trust-vector.js';
import { annotatedEvidenceOf } from './annotated-evidence.js';
import { challengeChecks } from './challenge-checks.js';
import {
  type Attestation,
  type ChallengeSession,
  type ChallengeSessions,
  evidenceDigestOf,
  type SessionAnswer,
  sessionIdOfCookie,
} from './challenge-sessions.js';
import type { SnpClaims } from './claims.js';
import type { Attested } from './guest-service.js';
import { EvidenceRefusedError, SessionRefusedError } from './refused.js';
import type { SnpAppraiser } from './snp-appraisal.js';
import { cappedByRoot, trustVectorOf } from './trust-vector.js';

export interface AttestOptions {
  readonly state: Pick<BrokerState, 'db' | 'record' | 'clock'>;
  readonly sessions: ChallengeSessions;
  readonly rules: RulesInForce;
  readonly appraise: SnpAppraiser;
  readonly demands: ReleaseDemands;
  readonly keys: KeyRing;
  readonly issuer: EarIssuer;
  /** Milliseconds. */
  readonly tokenLifetime: number;
  /** Refuses chips that attest too often. @throws RateLimitedError */
  readonly admitChip: (chip: string, now: number) => void;
}

/** Judges answers to challenges. @returns what POST `/attest` does */
export function attestation(options: AttestOptions) {
  const { state, sessions } = options;

  async function attest(cookie: string | undefined, body: string): Promise<Attested> {
    const id = sessionIdOfCookie(cookie);
    const given = rcarAttestation.parseText(body);
    const session = id === undefined ? undefined : await sessions.find(state.db.lookups, id);
    if (id === undefined || cookie === undefined || session === undefined) throw new SessionRefusedError();
    const now = state.clock.now();
    const evidenceDigest = evidenceDigestOf(body);
    const repeated = sameAnswer(session, evidenceDigest, now);
    if (repeated !== undefined) return { token: repeated.token, cookie, expiresAt: session.expiresAt };

    const judged = await judge(given, session, now);
    if (judged.attested === undefined) {
      const { appraisal, evidence } = judged;
      const answered = session.answer !== undefined || now >= session.expiresAt;
      const reference = await inTransaction(state.db, async (tx) => {
        const first = answered
          ? undefined
          : await sessions.answer(tx, session, { evidenceDigest, attested: undefined }, now);
        return recordAppraisal(tx, {
          id,
          appraisal,
          evidence,
          accepted: false,
          already: first !== undefined,
        });
      });
      throw new EvidenceRefusedError(appraisal, reference);
    }
    const { attested, evidence } = judged;
    options.admitChip(chipOf(attested.claims as SnpClaims), now);
    const earlier = await inTransaction(state.db, async (tx) => {
      const before = await sessions.answer(tx, session, { evidenceDigest, attested }, now);
      if (before === undefined)
        recordAppraisal(tx, {
          id,
          appraisal: attested.appraisal,
          evidence,
          accepted: true,
          claims: attested.claims,
        });
      return before;
    });
    if (earlier === undefined) return { token: attested.token, cookie, expiresAt: session.expiresAt };
    return settled(earlier, { id, evidenceDigest, cookie, session, evidence, now });
  }

  /** Another request answered the session meanwhile: its answer stands, and is this one's only if they are the same. */
  async function settled(
    earlier: SessionAnswer,
    found: {
      readonly id: string;
      readonly evidenceDigest: Uint8Array;
      readonly cookie: string;
      readonly session: ChallengeSession;
      readonly evidence: EvidenceRecord;
      readonly now: number;
    },
  ): Promise<Attested> {
    const { id, evidenceDigest, cookie, session, evidence, now } = found;
    const answered = { ...session, answer: earlier };
    const same = sameAnswer(answered, evidenceDigest, now);
    if (same !== undefined) return { token: same.token, cookie, expiresAt: session.expiresAt };
    const appraisal = challengeAppraisal(undefined, answered, now);
    const reference = await inTransaction(state.db, async (tx) =>
      recordAppraisal(tx, { id, appraisal, evidence, accepted: false, already: true }),
    );
    throw new EvidenceRefusedError(appraisal, reference);
  }

  async function judge(given: RcarAttestation, session: ChallengeSession, now: number): Promise<Judgement> {
    const challenge = challengeAppraisal(given, session, now);
    const evidence = parseSnpEvidence(given['tee-evidence'].primary_evidence);
    const told = evidenceRecord(evidence, given);
    if (!verdict(challenge).accepted) return { appraisal: challenge, evidence: told, attested: undefined };

    const { 'runtime-data': runtimeData, 'init-data': initData } = given;
    const guestKey = runtimeData['tee-pubkey'];
    await requireUsableTeeKey(guestKey);
    const thumbprint = await teeKeyThumbprint(guestKey);
    const additional = given['tee-evidence'].additional_evidence;
    const { appraisal: ofReport, claims } = await options.appraise(
      evidence,
      {
        reportData: await reportDataOf(runtimeData, additional),
        guestKey: thumbprint,
        initData: initData?.body,
      },
      now,
    );
    const appraisal = { ...ofReport, checks: [...challenge.checks, ...ofReport.checks] };
    if (!verdict(appraisal).accepted || claims === undefined)
      return { appraisal, evidence: told, attested: undefined };

    const { token, tokenClaims } = await issueToken({
      session,
      claims,
      appraisal,
      runtimeData,
      additional,
      now,
    });
    return {
      appraisal,
      evidence: told,
      attested: { claims, appraisal, guestKey, thumbprint, token, tokenClaims },
    };
  }

  async function issueToken(found: {
    readonly session: ChallengeSession;
    readonly claims: SnpClaims;
    readonly appraisal: Appraisal;
    readonly runtimeData: RcarAttestation['runtime-data'];
    readonly additional: string;
    readonly now: number;
  }) {
    const { session, claims, appraisal, runtimeData, additional, now } = found;
    const vector = await options.rules.use(state.db.lookups, now, async (rules) =>
      vectorOf(claims, appraisal, rules, now),
    );
    const subject = {
      id: session.id,
      vector,
      policyId: 'default',
      root: claims.root,
      ...annotatedEvidenceOf(claims, runtimeData, additional),
    };
    const times = { now, expiresAt: now + options.tokenLifetime };
    const tokenClaims = earClaims(subject, options.issuer, times);
    return { token: await signEarToken(options.keys, tokenClaims), tokenClaims };
  }

  function vectorOf(claims: SnpClaims, appraisal: Appraisal, rules: Rules, now: number): TrustVector {
    const values = referenceValuesAt(rules.documents, now);
    if (rules.trusteeAttestationPolicy)
      return cappedByRoot(
        claims,
        trusteeTrustVector(claims, (name) => namedReferenceValue(values, name)),
      );
    return trustVectorOf(claims, appraiseDemands(claims, appraisal, values, options.demands));
  }

  function recordAppraisal(
    tx: Transaction,
    found: {
      readonly id: string;
      readonly appraisal: Appraisal;
      readonly evidence: EvidenceRecord;
      readonly accepted: boolean;
      readonly claims?: Attestation['claims'];
      readonly already?: boolean;
    },
  ): string {
    const { id, appraisal, evidence, accepted, claims, already = false } = found;
    return state.record.append(tx, {
      kind: 'appraisal',
      subject: id,
      body: {
        session: id,
        accepted,
        failed: verdict(appraisal).failed.map((check) => check.id),
        ...(already ? { already } : {}),
        appraisal: appraisal as unknown as Json,
        evidence: evidence as unknown as Json,
        ...(claims === undefined ? {} : { claims: claims as unknown as Json }),
      },
    });
  }

  return attest;
}

interface Judgement {
  readonly appraisal: Appraisal;
  readonly evidence: EvidenceRecord;
  /** Undefined when it was refused. */
  readonly attested: Attestation | undefined;
}

/** Evidence as the record keeps it: enough to judge it again, with nothing secret in it. */
export interface EvidenceRecord {
  /** Base64 of 1184 bytes. */
  readonly report: string;
  readonly certificates: readonly { readonly guid: string; readonly der: string }[];
  readonly runtimeData: RcarAttestation['runtime-data'];
  readonly initData?: string;
}

function evidenceRecord(
  { report, certificates }: SnpPrimaryEvidence,
  given: RcarAttestation,
): EvidenceRecord {
  const { 'runtime-data': runtimeData, 'init-data': initData } = given;
  return {
    report: toBase64(report),
    certificates: certificates.map(({ guid, bytes }) => ({ guid, der: toBase64(bytes) })),
    runtimeData,
    ...(initData === undefined || initData === null ? {} : { initData: initData.body }),
  };
}

/** The attestation of a session that has this very answer already, while it lasts. */
function sameAnswer(
  { answer, expiresAt }: ChallengeSession,
  evidenceDigest: Uint8Array,
  now: number,
): Attestation | undefined {
  if (answer === undefined || now >= expiresAt) return undefined;
  return constantTimeEqual(answer.evidenceDigest, evidenceDigest) ? answer.attested : undefined;
}

function challengeAppraisal(
  given: RcarAttestation | undefined,
  { nonce, answer, expiresAt }: ChallengeSession,
  now: number,
): Appraisal {
  const appraiser = new Appraiser('answer to a challenge', challengeChecks);
  appraiser.report('challenge.unexpired', now < expiresAt, {
    expected: 'an answer in time',
    found: now < expiresAt ? 'an answer in time' : 'an answer after the session had ended',
  });
  appraiser.report('challenge.unused', answer === undefined, {
    expected: 'the first answer, or the very same again',
    found: answer === undefined ? 'the first answer' : 'another answer',
  });
  if (given !== undefined) {
    appraiser.report('challenge.nonce', given['runtime-data'].nonce === nonce, {
      expected: 'the nonce of this session',
      found: given['runtime-data'].nonce === nonce ? 'the nonce of this session' : 'another nonce',
    });
    const additional = given['tee-evidence'].additional_evidence;
    appraiser.report('evidence.devices', additional === '', {
      expected: 'no evidence of devices',
      found: additional === '' ? 'none' : `${additional.length} characters of it`,
    });
  }
  appraiser.abandon('not examined');
  return appraiser.finish();
}

/** By which a machine is counted and held back: its chip, or the guest itself where its host hides the chip. */
export function chipOf({ chipId, reportId }: SnpClaims): string {
  return chipId ?? `report id ${reportId}`;
}
