import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { EndorsementRequest } from '@vouchsafe/kds';
import {
  flattenedJwe,
  generateTeeKey,
  jsonText,
  openFlattenedJwe,
  reportDataOf,
  snpEvidenceJson,
  type TeeKeyKind,
  type TeeKeyPair,
} from '@vouchsafe/protocol';
import {
  certificateTableGuids,
  encodePem,
  openSecret,
  Secret,
  systemRandom,
  toBase64,
  toHex,
  UnavailableError,
} from '@vouchsafe/sev';
import type { InjectOptions } from 'fastify';
import type { JWK } from 'jose';
import { onTestFinished } from 'vitest';
import { keep, keptFolder } from '../../../../tools/src/left-behind/keep.js';
import { secretText } from '../../../../tools/src/left-behind/secrets.js';
import { makeEndorser, type TestEndorser, testEndorserKeys } from '../../../sev/src/testing/endorsements.js';
import { makeReport, type TestReport } from '../../../sev/src/testing/reports.js';
import { type Broker, type BrokerOptions, initialiseBroker, openBroker } from '../broker.js';
import type { ReferenceDocument } from '../reference-values/document.js';
import { signReferenceDocument } from '../reference-values/signed-document.js';
import { localMasterKey } from '../secrets/master-key.js';
import { issuerKey, publicPart, someDocument } from './reference-values.js';

/** When tests take place: what the test endorser makes is valid then. */
export const testTime = Date.UTC(2026, 2, 15, 12);
export const minute = 60_000;

/** A key service in the test's hands, and the root of one chip. */
export async function makeSilicon() {
  const endorser = await makeEndorser('Milan', testEndorserKeys());
  const asked: EndorsementRequest[] = [];
  const service = {
    asked,
    down: false,
    crl: (await endorser.crl()).raw,
    async endorsement(request: EndorsementRequest): Promise<Uint8Array> {
      asked.push(request);
      if (service.down) throw new UnavailableError('key service', 'it is down');
      if (request.what === 'crl') return service.crl;
      if (request.what === 'chain') {
        const signer = request.kind === 'VCEK' ? endorser.ask : endorser.asvk;
        const pem = [signer, endorser.ark].map(({ raw }) => encodePem('CERTIFICATE', raw)).join('');
        return new TextEncoder().encode(pem);
      }
      return (await endorser.vek('VCEK')).raw;
    },
  };
  return { endorser, service };
}
export type Silicon = Awaited<ReturnType<typeof makeSilicon>>;

/** Takes what is to be ended, for when the time has come; the last that was begun is ended first. */
export type AtEnd = (end: () => Promise<void> | void) => void;

export interface TestBrokerOptions extends Partial<Omit<BrokerOptions, 'now' | 'masterKey'>> {
  readonly silicon?: Silicon;
  readonly key?: number;
  /** By default, everything is ended when the test is finished. */
  readonly atEnd?: AtEnd;
}

function temporaryDatabase(atEnd: AtEnd): string {
  const folder = mkdtempSync(join(tmpdir(), 'vouchsafe-broker-'));
  atEnd(() => rmSync(folder, { recursive: true, force: true }));
  return `sqlite:${join(folder, 'broker.db')}`;
}

/** An initialised broker with a clock that stands until it is told, one trusted issuer, and a token with every role. */
export async function makeBroker(options: TestBrokerOptions = {}) {
  const { key = 1, atEnd = onTestFinished as AtEnd, ...given } = options;
  const silicon = options.silicon ?? (await makeSilicon());
  const clock = { now: testTime };
  const common = {
    database: options.database ?? temporaryDatabase(atEnd),
    masterKey: localMasterKey(Secret.take(new Uint8Array(32).fill(key)), systemRandom),
    random: systemRandom,
    now: () => clock.now,
    replica: 'one',
  };
  const { token } = await initialiseBroker(common);
  const logs: string[] = [];
  const open = async (changes: Partial<BrokerOptions> = {}): Promise<Broker> => {
    const broker = await openBroker({
      roots: [silicon.endorser.root],
      keyService: silicon.service,
      log: {
        level: 'info',
        write: (line) => {
          logs.push(line);
          keep('logs', line);
        },
      },
      ...given,
      ...common,
      ...changes,
    });
    let closed = false;
    const close = async () => {
      if (closed) return;
      closed = true;
      if (keptFolder() !== undefined) keep('metrics', (await inject(broker, { url: '/metrics' })).text);
      await broker.close();
    };
    atEnd(close);
    return { ...broker, close };
  };
  const broker = await open();
  const issuer = await issuerKey();
  const admin = administrator(broker, token);
  await admin.put('/v1/issuers/releases@example.org', { keys: [publicPart(issuer)] });
  return { broker, open, clock, token, admin, silicon, logs, issuer, ...common };
}
export type TestBroker = Awaited<ReturnType<typeof makeBroker>>;

export interface Answered<T = unknown> {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly json: T;
  readonly text: string;
}

/** Sends a request without a socket. */
export async function inject<T = unknown>(
  { app }: Pick<Broker, 'app'>,
  options: InjectOptions,
): Promise<Answered<T>> {
  const { statusCode, headers, payload } = await app.inject(options);
  if (statusCode >= 400) keep('errors', `${payload}\n`);
  let json: unknown;
  try {
    json = JSON.parse(payload);
  } catch {
    json = undefined;
  }
  return { status: statusCode, headers, json: json as T, text: payload };
}

/** The administrators' API with one token. */
export function administrator(broker: Pick<Broker, 'app'>, token: string | undefined) {
  const send =
    (method: 'GET' | 'PUT' | 'POST' | 'PATCH' | 'DELETE') =>
    <T = Record<string, unknown>>(url: string, body?: object) =>
      inject<T>(broker, {
        method,
        url,
        headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
        ...(body === undefined ? {} : { payload: body }),
      });
  return {
    get: send('GET'),
    put: send('PUT'),
    post: send('POST'),
    patch: send('PATCH'),
    delete: send('DELETE'),
  };
}

/** A new token with these roles. @param lifetime seconds */
export async function tokenFor(
  { admin, broker }: Pick<TestBroker, 'admin' | 'broker'>,
  held: readonly string[],
  lifetime = 3600,
) {
  const { status, json } = await admin.post<{ token: string; id: string }>('/v1/tokens', {
    name: held.join(' '),
    roles: held,
    lifetime,
  });
  if (status !== 201) throw new Error(`a token for ${held} was answered with ${status}`);
  return { ...json, as: administrator(broker, json.token) };
}

export const base64 = (text: string) => toBase64(new TextEncoder().encode(text));

/** What a test guest measures, in hexadecimal. */
export const measurement = toHex(new Uint8Array(48).fill(0x3e));

/** Publishes a document that knows the test guest's measurement. */
export async function publish(
  { admin, issuer }: Pick<TestBroker, 'admin' | 'issuer'>,
  changes: Partial<ReferenceDocument> = {},
  key: JWK = issuer,
): Promise<Answered> {
  const document = await signReferenceDocument(
    someDocument({
      notBefore: '2026-01-01T00:00:00Z',
      notAfter: '2027-01-01T00:00:00Z',
      measurements: [{ value: measurement, label: 'test guest' }],
      ...changes,
    }),
    key,
  );
  return admin.post('/v1/reference-values', { document });
}

export const permitAll = '@id("everybody")\npermit (principal, action, resource);\n';

/** What {@link storeSecret} stores unless told otherwise. */
export const theSecret = secretText('the secret itself');

/** A secret that every known guest gets. */
export async function storeSecret(
  { admin }: Pick<TestBroker, 'admin'>,
  path = 'repo/type/tag',
  secret = theSecret,
  more: object = {},
): Promise<void> {
  await admin.put('/v1/policies/default', { policy: base64(permitAll) });
  const { status } = await admin.put(`/v1/secrets/${path}`, { content: base64(secret), ...more });
  if (status !== 201) throw new Error(`storing ${path} was answered with ${status}`);
}

export interface GuestChanges {
  readonly report?: TestReport;
  readonly kind?: TeeKeyKind;
  /** Certificates beside the report; the VCEK unless told otherwise. */
  readonly certificates?: 'vcek' | 'none' | 'table';
  readonly initData?: string;
  /** Of another chip than the test's (64 bytes), with a VCEK of its own. */
  readonly chipId?: Uint8Array;
}

/** A guest on the test's chip, request by request. */
export async function makeGuest(endorser: TestEndorser, changes: GuestChanges = {}) {
  const key: TeeKeyPair = await generateTeeKey(changes.kind);
  const { chipId } = changes;

  async function challenge(broker: Pick<Broker, 'app'>, request: object = {}) {
    const answer = await inject<{ nonce: string }>(broker, {
      method: 'POST',
      url: '/kbs/v0/auth',
      payload: { version: '0.4.0', tee: 'snp', 'extra-params': {}, ...request },
    });
    return { ...answer, cookie: cookieOf(answer), nonce: answer.json?.nonce };
  }

  /** The body of an answer to a challenge. @param bound runtime data that the report binds, if not what is sent */
  async function evidence(
    nonce: string,
    {
      bound,
      report = changes.report ?? {},
      sent = key.publicKey,
      initData = changes.initData,
    }: {
      bound?: object;
      report?: TestReport;
      sent?: TeeKeyPair['publicKey'];
      initData?: string | undefined;
    } = {},
  ): Promise<string> {
    const runtimeData = { nonce, 'tee-pubkey': sent };
    const reportData = await reportDataOf({ ...runtimeData, ...bound } as typeof runtimeData);
    const bytes = await makeReport(endorser.vekKey, {
      ...report,
      fields: { vmpl: 0, reportData, ...(chipId === undefined ? {} : { chipId }), ...report.fields },
    });
    const primary = snpEvidenceJson({ report: bytes, certificates: await certificatesOf(endorser, changes) });
    return jsonText({
      ...(initData === undefined ? {} : { 'init-data': { format: 'toml', body: initData } }),
      'runtime-data': runtimeData,
      'tee-evidence': { primary_evidence: primary, additional_evidence: '' },
    });
  }

  const attest = (broker: Pick<Broker, 'app'>, cookie: string | undefined, payload: string) =>
    inject<{ token: string; type: string; detail: string }>(broker, {
      method: 'POST',
      url: '/kbs/v0/attest',
      headers: { 'content-type': 'application/json', ...(cookie === undefined ? {} : { cookie }) },
      payload,
    });

  /** @param credentials how the guest says who it is; a session does */
  const get = (
    broker: Pick<Broker, 'app'>,
    path: string,
    { cookie, authorization }: { readonly cookie?: string; readonly authorization?: string },
  ) =>
    inject<{ type: string; detail: string }>(broker, {
      method: 'GET',
      url: `/kbs/v0/resource/${path}`,
      headers: {
        ...(cookie === undefined ? {} : { cookie }),
        ...(authorization === undefined ? {} : { authorization }),
      },
    });

  /** Challenge and attestation. */
  async function attested(broker: Pick<Broker, 'app'>, answering: Pick<Broker, 'app'> = broker) {
    const { cookie = '', nonce = '' } = await challenge(broker);
    const body = await evidence(nonce);
    const answer = await attest(answering, cookie, body);
    return { ...answer, cookie, nonce, body, token: answer.json?.token };
  }

  async function open(answer: Answered): Promise<string> {
    const secret = await openFlattenedJwe(flattenedJwe.parse(answer.json), key);
    return new TextDecoder().decode(openSecret(secret));
  }

  return { key, challenge, evidence, attest, get, attested, open };
}

async function certificatesOf(endorser: TestEndorser, { certificates = 'vcek', chipId }: GuestChanges) {
  if (certificates === 'none') return [];
  const entry = (kind: 'VCEK' | 'ASK' | 'ARK', bytes: Uint8Array) => ({
    kind,
    guid: certificateTableGuids[kind],
    bytes,
  });
  const vek = chipId === undefined ? endorser.vek('VCEK') : endorser.vek('VCEK', undefined, { hwid: chipId });
  const vcek = entry('VCEK', (await vek).raw);
  return certificates === 'vcek'
    ? [vcek]
    : [vcek, entry('ASK', endorser.ask.raw), entry('ARK', endorser.ark.raw)];
}

function cookieOf({ headers }: Answered): string | undefined {
  return /^(kbs-session-id=[0-9a-f]{32});/.exec(String(headers['set-cookie'] ?? ''))?.[1];
}

/** The number in an answer that an operator can ask about. */
export function numberIn({ json }: Answered<{ detail?: string }>): string {
  return /number ([0-9-]{19})/.exec(json?.detail ?? '')?.[1] ?? '(none)';
}
