import { execFileSync } from 'node:child_process';
import { createHash, generateKeyPairSync, randomBytes, sign, X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer as createPlainServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  canonicalJson,
  parseSnpEvidence,
  type RcarErrorVariant,
  rcarAttestation,
  rcarErrorOf,
  rcarRequest,
  reportDataOf,
  sealToTeeKey,
  type TeeKey,
  toBase64Url,
} from '@vouchsafe/protocol';
import { equalBytes, parseSnpReport, Secret } from '@vouchsafe/sev';
import { onTestFinished } from 'vitest';

export interface FakeAnswer {
  readonly status: number;
  readonly body: string | Uint8Array;
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
}
/** `POST /kbs/v0/auth`, the request's headers and body; what a test answers in the broker's place, or nothing. */
export type Intercept = (
  route: string,
  request: { readonly cookie: string | undefined; readonly body: string },
) => FakeAnswer | 'hang up' | 'say nothing' | undefined;

export interface FakeBrokerOptions {
  readonly intercept?: Intercept;
  readonly tls?: boolean;
  /** Of the token, in seconds. */
  readonly lifetime?: number;
  /** Changes the claims before they are signed. */
  readonly claims?: (claims: Record<string, unknown>) => Record<string, unknown>;
}

export interface FakeBroker {
  readonly address: string;
  /** Every request in order: method and path. */
  readonly requests: readonly string[];
  /** Guest keys in the order in which they attested. */
  readonly keys: readonly TeeKey[];
  readonly thumbprint: string;
  readonly certificate?: { readonly pem: string; readonly fingerprint: Uint8Array };
  /** Ends every session, as a broker does that was restored. */
  forget(): void;
}

const json = (status: number, value: unknown, headers = {}): FakeAnswer => ({
  status,
  body: JSON.stringify(value),
  headers,
});
const error = (status: number, variant: RcarErrorVariant, detail: string) =>
  json(status, rcarErrorOf(variant, detail));

/** A key broker that keeps to the protocol, except where a test answers for it. It has the secret `default/key/1`. */
export async function startFakeBroker(options: FakeBrokerOptions = {}): Promise<FakeBroker> {
  const { intercept, lifetime = 300 } = options;
  const signing = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const { kty, crv, x, y } = signing.publicKey.export({ format: 'jwk' });
  const sessions = new Map<string, { nonce: string; key?: TeeKey }>();
  const requests: string[] = [];
  const keys: TeeKey[] = [];

  function tokenFor(key: TeeKey): string {
    const iat = 1_000_000_000;
    const runtime = { runtime_data_claims: { 'tee-pubkey': key } };
    const plain = {
      iat,
      exp: iat + lifetime,
      submods: { cpu0: { 'ear.veraison.annotated-evidence': runtime } },
    };
    const claims = options.claims?.(plain) ?? plain;
    const part = (value: unknown) => toBase64Url(new TextEncoder().encode(JSON.stringify(value)));
    const text = `${part({ typ: 'JWT', alg: 'ES256', kid: 'one' })}.${part(claims)}`;
    const key256 = { key: signing.privateKey, dsaEncoding: 'ieee-p1363' } as const;
    return `${text}.${toBase64Url(sign('sha256', Buffer.from(text), key256))}`;
  }

  async function answer(route: string, cookie: string | undefined, body: string): Promise<FakeAnswer> {
    const session = sessions.get(/^kbs-session-id=(\w+)$/.exec(cookie ?? '')?.[1] ?? '');
    if (route === 'POST /kbs/v0/auth') {
      rcarRequest.parseText(body);
      const id = randomBytes(16).toString('hex');
      const nonce = randomBytes(32).toString('base64');
      sessions.set(id, { nonce });
      const cookies = { 'set-cookie': `kbs-session-id=${id}; Expires=Fri, 01 Jan 2027 00:00:00 GMT` };
      return json(200, { nonce, 'extra-params': '' }, cookies);
    }
    if (route === 'GET /.well-known/jwks.json')
      return json(200, { keys: [{ kty, crv, x, y, kid: 'one', alg: 'ES256' }] });
    if (session === undefined) return error(401, 'TokenNotFound', 'no session');
    if (route === 'POST /kbs/v0/attest') {
      const { 'runtime-data': runtime, 'tee-evidence': evidence } = rcarAttestation.parseText(body);
      const { report } = parseSnpEvidence(evidence.primary_evidence);
      if (runtime.nonce !== session.nonce) return error(401, 'AttestationError', 'another nonce');
      if (!equalBytes(parseSnpReport(report).reportData, await reportDataOf(runtime)))
        return error(401, 'AttestationError', 'another binding');
      session.key = runtime['tee-pubkey'];
      keys.push(session.key);
      return json(200, { token: tokenFor(session.key) });
    }
    if (session.key === undefined) return error(401, 'TokenNotFound', 'not attested');
    if (route !== 'GET /kbs/v0/resource/default/key/1') return error(404, 'PluginInternalError', 'no such');
    const secret = Secret.take(new TextEncoder().encode('the first secret'));
    return json(200, await sealToTeeKey(secret, session.key));
  }

  const listener = async (request: IncomingMessage, response: ServerResponse) => {
    const parts: Buffer[] = [];
    for await (const part of request as AsyncIterable<Buffer>) parts.push(part);
    const body = Buffer.concat(parts).toString();
    const route = `${request.method} ${request.url}`;
    requests.push(route);
    const { cookie } = request.headers;
    const scripted = intercept?.(route, { cookie, body });
    if (scripted === 'hang up') request.socket.destroy();
    else if (scripted !== 'say nothing') {
      const { status, headers = {}, body: sent } = scripted ?? (await answer(route, cookie, body));
      response.writeHead(status, headers as Record<string, string>).end(sent);
    }
  };
  const certificate = options.tls === true ? selfSigned() : undefined;
  const server =
    certificate === undefined
      ? createPlainServer((request, response) => void listener(request, response))
      : createTlsServer(
          { key: certificate.key, cert: certificate.pem },
          (request, response) => void listener(request, response),
        );
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const thumbprint = createHash('sha256').update(canonicalJson({ kty, crv, x, y })).digest();
  return {
    address: `${certificate === undefined ? 'http' : 'https'}://127.0.0.1:${port}`,
    requests,
    keys,
    thumbprint: toBase64Url(thumbprint),
    ...(certificate === undefined ? {} : { certificate }),
    forget: () => sessions.clear(),
  };
}

/** A certificate for 127.0.0.1 that nobody else signed. */
function selfSigned(): { key: string; pem: string; fingerprint: Uint8Array } {
  const folder = mkdtempSync(join(tmpdir(), 'vouchsafe-tls-'));
  try {
    const [keyPath, path] = [join(folder, 'key.pem'), join(folder, 'certificate.pem')];
    const words = `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=broker -addext subjectAltName=IP:127.0.0.1`;
    execFileSync('openssl', [...words.split(' '), '-keyout', keyPath, '-out', path], { stdio: 'ignore' });
    const pem = readFileSync(path, 'utf8');
    const fingerprint = createHash('sha256').update(new X509Certificate(pem).raw).digest();
    return { key: readFileSync(keyPath, 'utf8'), pem, fingerprint: new Uint8Array(fingerprint) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
