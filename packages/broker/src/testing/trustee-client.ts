import { createHash } from 'node:crypto';
import { canonical } from './trustee/canonical.js';
import { CookieStore } from './trustee/cookie-store.js';
import { type TrusteeCertificate, trusteeEvidence } from './trustee/snp-evidence.js';
import { makeTrusteeKey, openResponse, type TrusteeKey, type TrusteeKeyKind } from './trustee/tee-key.js';

/**
 * A guest as Trustee's own clients behave (kbs_protocol of guest-components), written from the description of their wire
 * format and from nothing of ours: what a broker must get right for unmodified guests.
 */

export interface TrusteeAttester {
  /** A report (1184 bytes) over 64 bytes, and the host's certificates. */
  evidence(reportData: Uint8Array): Promise<{
    readonly report: Uint8Array;
    readonly certificates: readonly TrusteeCertificate[];
  }>;
}

export interface TrusteeClientOptions {
  /** `http://HOST:PORT`, without the protocol's prefix. */
  readonly address: string;
  readonly attester: TrusteeAttester;
  readonly keyKind?: TrusteeKeyKind;
  readonly initData?: string;
  readonly now?: () => number;
  /** Between the tries of {@link TrusteeClient.getToken}, in milliseconds. */
  readonly pause?: (milliseconds: number) => Promise<void>;
  readonly fetch?: typeof fetch;
}

/** How this client says that it failed, by the words of the original. */
export type TrusteeFailure =
  | 'handshake'
  | 'resource not found'
  | 'KBS Server Internal Failed'
  | 'response not understood'
  | 'unauthorized';

/** The error object of a broker's answer. */
export interface ErrorInformation {
  readonly type: string;
  readonly detail: string;
}

export class TrusteeClientError extends Error {
  readonly failure: TrusteeFailure;
  readonly information: ErrorInformation | undefined;

  constructor(failure: TrusteeFailure, message: string, information?: ErrorInformation) {
    super(`${failure}: ${message}`);
    this.failure = failure;
    this.information = information;
  }
}

const prefix = '/kbs/v0';
const handshakeTries = 5;
const resourceTries = 3;

/** The style that does the exchange itself and keeps a cookie: `kbs_protocol`'s background check. */
export class TrusteeClient {
  readonly key: TrusteeKey;
  readonly #options: TrusteeClientOptions;
  readonly #cookies: CookieStore;
  readonly #now: () => number;
  #token: string | undefined;

  constructor(options: TrusteeClientOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#cookies = new CookieStore(this.#now);
    this.key = makeTrusteeKey(options.keyKind ?? 'ECDH-ES+A256KW-P256');
  }

  /** Asks first and attests when told to, as the original does. @throws TrusteeClientError */
  async getResource(path: string): Promise<Uint8Array> {
    for (let attempt = 1; attempt <= resourceTries; attempt++) {
      const answer = await this.#send('GET', `/resource/${path}`);
      const opened = await resourceIn(answer, this.key);
      if (opened !== undefined) return opened;
      await this.handshake();
    }
    throw new TrusteeClientError('unauthorized', path);
  }

  /** A token that is good now, and the key that it vouches for. @throws TrusteeClientError */
  async getToken(): Promise<{ readonly token: string; readonly key: TrusteeKey }> {
    for (let attempt = 1; this.#token === undefined || !isValid(this.#token, this.#now()); attempt++) {
      try {
        await this.handshake();
      } catch (error) {
        if (attempt >= handshakeTries) throw error;
        await this.#options.pause?.(1000);
      }
    }
    return { token: this.#token, key: this.key };
  }

  /** Request, challenge, attestation, response. @throws TrusteeClientError */
  async handshake(): Promise<void> {
    const request = {
      version: '0.4.0',
      tee: 'snp',
      'extra-params': { 'supported-hash-algorithms': ['sha256', 'sha384', 'sha512', 'sm3'] },
    };
    const challenge = await handshakeAnswer(await this.#send('POST', '/auth', JSON.stringify(request)));
    const { nonce } = challenge;
    const parameters = challenge['extra-params'];
    if (typeof nonce !== 'string' || parameters === undefined)
      throw new TrusteeClientError('handshake', 'a challenge without nonce or extra-params');
    if ((parameters as Record<string, unknown> | null)?.['selected-hash-algorithm'] !== undefined)
      throw new TrusteeClientError('handshake', 'a hash was selected, which is for IBM’s machines');

    const body = await this.attestation(nonce);
    const { token } = await handshakeAnswer(await this.#send('POST', '/attest', body));
    if (typeof token !== 'string') throw new TrusteeClientError('handshake', 'no token');
    claimsOf(token);
    this.#token = token;
  }

  /** The body that answers a challenge. */
  async attestation(nonce: string): Promise<string> {
    const runtimeData = { nonce, 'tee-pubkey': this.key.publicJwk };
    const bound = canonical({ ...runtimeData, 'additional-evidence': '' });
    const reportData = new Uint8Array(64);
    reportData.set(createHash('sha384').update(bound).digest());
    const { report, certificates } = await this.#options.attester.evidence(reportData);
    const { initData } = this.#options;
    const init = initData === undefined ? 'null' : JSON.stringify({ format: 'toml', body: initData });
    const evidence = `{"primary_evidence":${trusteeEvidence(report, certificates)},"additional_evidence":""}`;
    return `{"init-data":${init},"runtime-data":${JSON.stringify(runtimeData)},"tee-evidence":${evidence}}`;
  }

  async #send(method: 'GET' | 'POST', path: string, body?: string): Promise<Response> {
    const url = new URL(`${this.#options.address}${prefix}${path}`);
    const cookie = this.#cookies.header(url);
    const answer = await (this.#options.fetch ?? fetch)(url, {
      method,
      headers: {
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...(cookie === undefined ? {} : { cookie }),
      },
      ...(body === undefined ? {} : { body }),
    });
    this.#cookies.store(url, answer.headers.getSetCookie());
    return answer;
  }
}

/**
 * The style that gets token and key from an attestation agent and shows the token: `kbs_protocol`'s passport.
 * @throws TrusteeClientError
 */
export async function getResourceWithToken(
  address: string,
  path: string,
  provider: () => Promise<{ readonly token: string; readonly key: TrusteeKey }>,
): Promise<Uint8Array> {
  let held = await provider();
  for (let attempt = 1; attempt <= resourceTries; attempt++) {
    const headers = { authorization: `Bearer ${held.token}` };
    const answer = await fetch(`${address}${prefix}/resource/${path}`, { headers });
    const opened = await resourceIn(answer, held.key);
    if (opened !== undefined) return opened;
    held = await provider();
  }
  throw new TrusteeClientError('unauthorized', path);
}

/** The secret; undefined where the answer sends the client into attesting again. */
async function resourceIn(answer: Response, key: TrusteeKey): Promise<Uint8Array | undefined> {
  const text = await answer.text();
  if (answer.status === 200) {
    try {
      return openResponse(JSON.parse(text), key);
    } catch (error) {
      throw new TrusteeClientError('response not understood', String(error));
    }
  }
  const information = errorInformation(text);
  if (answer.status === 401) return undefined;
  const failure = answer.status === 404 ? 'resource not found' : 'KBS Server Internal Failed';
  throw new TrusteeClientError(failure, information.detail, information);
}

/** The answers of `/auth` and `/attest`, where only 200, 401 and the rest are told apart. */
async function handshakeAnswer(answer: Response): Promise<Record<string, unknown>> {
  const text = await answer.text();
  if (answer.status === 401) {
    const information = errorInformation(text);
    throw new TrusteeClientError('handshake', information.detail, information);
  }
  if (answer.status !== 200) throw new TrusteeClientError('handshake', text);
  const json: unknown = JSON.parse(text);
  return json as Record<string, unknown>;
}

function errorInformation(text: string): ErrorInformation {
  try {
    const { type, detail } = JSON.parse(text) as Partial<ErrorInformation>;
    if (typeof type === 'string' && typeof detail === 'string') return { type, detail };
  } catch {
    // As what is no error object: below.
  }
  throw new TrusteeClientError('response not understood', 'an error that is no error object');
}

function claimsOf(token: string): Record<string, unknown> {
  const payload = token.split('.')[1];
  if (payload === undefined) throw new TrusteeClientError('handshake', 'illegal token format');
  return JSON.parse(Buffer.from(payload, 'base64url').toString('utf8')) as Record<string, unknown>;
}

/** By `exp` and `nbf` alone: this client does not verify its token. */
function isValid(token: string, now: number): boolean {
  const { exp, nbf } = claimsOf(token);
  const seconds = now / 1000;
  return (typeof exp !== 'number' || exp >= seconds) && (typeof nbf !== 'number' || nbf <= seconds);
}
