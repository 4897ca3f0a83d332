import { createHash } from 'node:crypto';
import { rcarVersion, type TeeKey, type TeeName, teeKey } from '@vouchsafe/protocol';
import { type Appraisal, type RandomSource, toBase64, toHex } from '@vouchsafe/sev';
import { decodeJwt } from 'jose';
import type { Kysely } from 'kysely';
import type { StateKeys } from '../secrets/state-keys.js';
import { isoTime, type Transaction } from '../state/database.js';
import type { ChallengeSessionRow, Tables } from '../state/tables.js';
import type { Claims } from './claims.js';
import { openedAppraisal, type StoredAppraisal, storedAppraisal } from './stored-appraisal.js';

/** A guest's session from its challenge to the end of its time. */
export interface ChallengeSession {
  /** Names the session everywhere but in the guest's cookie, of which it is the digest. */
  readonly id: string;
  readonly tee: TeeName;
  /** 32 bytes in base64. */
  readonly nonce: string;
  /** Milliseconds since 1970. */
  readonly expiresAt: number;
  /** What became of it; undefined while nobody has answered. */
  readonly answer: SessionAnswer | undefined;
  /** As it was read. */
  readonly row: ChallengeSessionRow;
}

/** The one answer to a challenge. */
export interface SessionAnswer {
  /** SHA-384 of what the guest sent. */
  readonly evidenceDigest: Uint8Array;
  /** Undefined when it was refused. */
  readonly attested: Attestation | undefined;
}

/** What is known of a guest whose evidence was accepted. */
export interface Attestation {
  readonly claims: Claims;
  readonly appraisal: Appraisal;
  readonly guestKey: TeeKey;
  /** RFC 7638 thumbprint of the key. */
  readonly thumbprint: string;
  readonly token: string;
  /** What the token says, for the policies of Trustee. */
  readonly tokenClaims: Readonly<Record<string, unknown>>;
}

/** What every decision needs, sealed together; the token beside it is opened when it is asked for. */
interface Stored {
  readonly claims: Claims;
  readonly appraisal: StoredAppraisal;
}

const tableName = 'challenge_sessions';
type Query = Pick<Kysely<Tables>, 'selectFrom'>;

/** The sessions in the database: every replica finds them there, and none keeps one for itself. */
export class ChallengeSessions {
  readonly #keys: StateKeys;

  constructor(keys: StateKeys) {
    this.#keys = keys;
  }

  /** Opens a session. @returns its cookie, which is kept nowhere, and its row's name */
  async open(
    tx: Transaction,
    given: {
      readonly tee: TeeName;
      readonly now: number;
      readonly expiresAt: number;
      readonly random: RandomSource;
    },
  ): Promise<{ readonly cookie: string; readonly id: string; readonly nonce: string }> {
    const cookie = newCookie(given.random);
    const id = sessionIdOf(cookie);
    const nonce = toBase64(given.random(32));
    const row = this.#keys.withMac(tableName, {
      id,
      tee: given.tee,
      protocol_version: rcarVersion,
      nonce,
      state: 'challenged' as const,
      created_at: isoTime(given.now),
      expires_at: isoTime(given.expiresAt),
      attested_at: null,
      evidence_digest: null,
      guest_key: null,
      guest_key_thumbprint: null,
      claims: null,
      token: null,
    });
    await tx.query.insertInto(tableName).values(row).execute();
    return { cookie, id, nonce };
  }

  /** @throws RefusedError (`state.row`) for a row that was edited by hand */
  async find(query: Query, id: string): Promise<ChallengeSession | undefined> {
    const row = await query.selectFrom(tableName).selectAll().where('id', '=', id).executeTakeFirst();
    return row === undefined ? undefined : this.#read(row);
  }

  /**
   * Records the answer to a challenge, once and for all.
   * @returns the answer that was there already, which then stands; undefined when this one does
   */
  async answer(
    tx: Transaction,
    { id, row: { mac: _, ...row } }: ChallengeSession,
    answer: SessionAnswer,
    now: number,
  ): Promise<SessionAnswer | undefined> {
    const change = this.#changeBy(id, answer, now);
    const { mac } = this.#keys.withMac(tableName, { ...row, ...change });
    // Whoever comes second waits for the first one here, and then finds nothing to change.
    const { numUpdatedRows } = await tx.query
      .updateTable(tableName)
      .set({ ...change, mac })
      .where('id', '=', id)
      .where('evidence_digest', 'is', null)
      .executeTakeFirstOrThrow();
    if (numUpdatedRows > 0n) return undefined;
    const answered = tx.query.selectFrom(tableName).selectAll().where('id', '=', id);
    return this.#read(await answered.executeTakeFirstOrThrow()).answer;
  }

  #changeBy(id: string, { evidenceDigest, attested }: SessionAnswer, now: number) {
    const sealed = (column: string, text: string) => this.#keys.sealText([tableName, id, column], text);
    if (attested === undefined) return { evidence_digest: evidenceDigest, state: 'refused' as const };
    const { claims, appraisal, guestKey, thumbprint, token } = attested;
    const stored: Stored = { claims, appraisal: storedAppraisal(appraisal) };
    return {
      evidence_digest: evidenceDigest,
      state: 'attested' as const,
      attested_at: isoTime(now),
      guest_key: JSON.stringify(guestKey),
      guest_key_thumbprint: thumbprint,
      claims: sealed('claims', JSON.stringify(stored)),
      token: sealed('token', token),
    };
  }

  /** Deletes sessions that ended before a moment. */
  async sweep(tx: Transaction, before: number): Promise<void> {
    await tx.query.deleteFrom(tableName).where('expires_at', '<', isoTime(before)).execute();
  }

  #read(found: ChallengeSessionRow): ChallengeSession {
    const { id, tee, nonce, expires_at, evidence_digest } = this.#keys.requireMac(tableName, found.id, found);
    return {
      id,
      tee: tee as TeeName,
      nonce,
      expiresAt: Date.parse(expires_at),
      answer:
        evidence_digest === null
          ? undefined
          : { evidenceDigest: evidence_digest, attested: this.#attestation(found) },
      row: found,
    };
  }

  #attestation(row: ChallengeSessionRow): Attestation | undefined {
    const { id, guest_key, guest_key_thumbprint, claims, token } = row;
    if (guest_key === null || guest_key_thumbprint === null || claims === null || token === null)
      return undefined;
    const open = (column: string, sealed: Uint8Array) => this.#keys.openText([tableName, id, column], sealed);
    const stored = JSON.parse(open('claims', claims)) as Stored;
    return {
      claims: stored.claims,
      appraisal: openedAppraisal(stored.appraisal),
      guestKey: teeKey.parseText(guest_key),
      thumbprint: guest_key_thumbprint,
      get token() {
        return open('token', token);
      },
      get tokenClaims() {
        return decodeJwt(this.token);
      },
    };
  }
}

/** A random UUID (version 4) without its hyphens, as Trustee's: 122 random bits. */
function newCookie(random: RandomSource): string {
  const bytes = random(16);
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  return toHex(bytes);
}

/** Undefined for what no cookie of this broker looks like. */
export function sessionIdOfCookie(cookie: string | undefined): string | undefined {
  return cookie !== undefined && /^[0-9a-f]{32}$/.test(cookie) ? sessionIdOf(cookie) : undefined;
}

function sessionIdOf(cookie: string): string {
  return createHash('sha256').update('vouchsafe session').update(cookie).digest('hex');
}

/** SHA-384 of an answer as it was sent. */
export function evidenceDigestOf(text: string): Uint8Array {
  return Uint8Array.from(createHash('sha384').update(text).digest());
}
