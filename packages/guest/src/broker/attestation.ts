import {
  jsonText,
  parseStrictJson,
  rcarAttestation,
  rcarChallenge,
  rcarPaths,
  rcarRequest,
  rcarToken,
  rcarVersion,
  requireSha384,
  type TeeKeyPair,
} from '@vouchsafe/protocol';
import { MalformedError, UnavailableError } from '@vouchsafe/sev';
import type { BrokerChannel } from './broker-channel.js';
import { type ReportSource, snpEvidenceFor } from './evidence.js';
import type { BrokerAnswer } from './exchange.js';
import { AttestationRefusedError } from './refusals.js';
import { sessionCookieOf } from './session-cookie.js';
import { requirePinnedToken, tokenTimes } from './token.js';

/** What a guest has once a broker believes it. */
export interface BrokerSession {
  /** `name=value`. */
  readonly cookie: string;
  readonly token: string;
  readonly key: TeeKeyPair;
  /** When the challenge was asked for, by `now`. */
  readonly begun: number;
  /** Milliseconds. */
  readonly lifetime: number;
}

export interface AttestOptions {
  readonly device: ReportSource;
  readonly initData?: string;
  readonly tokenKeys?: readonly string[];
  readonly now: () => number;
}

/** The hashes that this client could bind its evidence with; SHA-384 is the one that it does. */
const requestParameters = { 'supported-hash-algorithms': ['sha384'] };

const jwksPath = '/.well-known/jwks.json';

/**
 * The whole exchange: request, challenge, evidence, token.
 * @throws AttestationRefusedError when the broker says no
 * @throws UnavailableError, MalformedError when it, or the attestation device, does not answer as it should
 */
export async function attest(
  channel: BrokerChannel,
  key: TeeKeyPair,
  { device, initData, tokenKeys, now }: AttestOptions,
): Promise<BrokerSession> {
  const begun = now();
  const request = { version: rcarVersion, tee: 'snp', 'extra-params': requestParameters };
  const asked = await post(channel, rcarPaths.auth, rcarRequest.toJson(request));
  const challenge = rcarChallenge.parseText(asked.text);
  requireSha384(challenge['extra-params']);
  const cookie = sessionCookieOf(asked.setCookie) ?? missingCookie();

  const runtimeData = { nonce: challenge.nonce, 'tee-pubkey': key.publicKey };
  const evidence = await snpEvidenceFor(device, runtimeData);
  const attestation = rcarAttestation.toJson({
    ...(initData === undefined ? {} : { 'init-data': { format: 'toml' as const, body: initData } }),
    'runtime-data': runtimeData,
    'tee-evidence': { primary_evidence: evidence, additional_evidence: '' },
  });
  const answered = await post(channel, rcarPaths.attest, attestation, cookie);
  const { token } = rcarToken.parseText(answered.text);
  if (tokenKeys !== undefined)
    await requirePinnedToken(token, await publishedKeys(channel), tokenKeys, key.publicKey);
  return {
    cookie: sessionCookieOf(answered.setCookie) ?? cookie,
    token,
    key,
    begun,
    lifetime: tokenTimes(token).lifetime,
  };
}

async function post(
  channel: BrokerChannel,
  path: string,
  body: unknown,
  cookie?: string,
): Promise<BrokerAnswer> {
  const headers = cookie === undefined ? {} : { cookie };
  const answer = await channel.send({ method: 'POST', path, headers, body: jsonText(body) });
  if (answer.status === 200) return answer;
  const { detail } = channel.errorIn(answer.status, answer.text);
  if (answer.status === 401 || answer.status === 403) throw new AttestationRefusedError(detail);
  throw new UnavailableError('key broker', `${path}: status ${answer.status}: ${detail}`);
}

async function publishedKeys(channel: BrokerChannel) {
  const { status, text } = await channel.send({ method: 'GET', path: jwksPath });
  if (status !== 200) throw new UnavailableError('key broker', `${jwksPath}: status ${status}`);
  return parseStrictJson('JWK set', text);
}

function missingCookie(): never {
  throw new MalformedError({
    structure: 'answer of a key broker',
    field: 'Set-Cookie',
    offset: 0,
    expected: 'a session',
    found: 'none',
  });
}
