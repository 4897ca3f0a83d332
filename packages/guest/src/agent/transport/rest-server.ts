import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { fromBase64Url, message, rpcCodes } from '@vouchsafe/protocol';
import { InvalidArgumentError, MalformedError, openSecret } from '@vouchsafe/sev';
import { z } from 'zod';
import type { RestFeatures } from '../configuration/kernel-command-line.js';
import type { AttestationCalls } from '../services/attestation.js';
import type { DataHubCalls } from '../services/data-hub.js';
import type { AgentServer } from './agent-server.js';
import { CallerRefusedError, type CallerRules, requireCaller } from './callers.js';
import { rpcFailureOf } from './rpc-failure.js';

/** Longest body of a request, in bytes. */
const largestBody = 64 * 1024;

const text = z.string({ error: 'expected text' }).max(16 * 1024, { error: 'expected at most 16 KiB' });
const logEntry = message(
  'event log entry',
  z.object({ domain: text, operation: text, content: text }, { error: 'expected an object' }),
);

export interface RestOptions {
  readonly attestation: AttestationCalls;
  readonly dataHub: DataHubCalls;
  readonly features: RestFeatures;
  readonly version: string;
  readonly rules: CallerRules;
}

interface Answer {
  readonly status: number;
  readonly body: string | Uint8Array;
  readonly type?: 'application/json' | 'application/octet-stream';
}

const octets = (body: string | Uint8Array): Answer => ({
  status: 200,
  body,
  type: 'application/octet-stream',
});
const json = (body: unknown): Answer => ({
  status: 200,
  body: JSON.stringify(body),
  type: 'application/json',
});
const failed = (status: number, body: string): Answer => ({ status, body });
const badRequest = failed(400, 'BAD REQUEST');
const notFound = failed(404, 'URL NOT FOUND');
const notAllowed = failed(405, 'Method Not Allowed');

/**
 * What Confidential Containers' api-server-rest offers containers, over HTTP on loopback. A secret that the key broker does
 * not release is answered 403, one that does not exist 404, each with the broker's own words.
 */
export function restServer(options: RestOptions): AgentServer {
  const server = createServer((request, response) => {
    void answerTo(request, options).then((answer) => send(response, answer));
  });
  // Of a request that is no HTTP: the connection ends with 400 and nothing else.
  server.headersTimeout = 10_000;
  server.requestTimeout = 30_000;
  return {
    server,
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
    },
  };
}

function send(response: ServerResponse, { status, body, type = 'application/octet-stream' }: Answer): void {
  const headers = { 'content-type': type, 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' };
  response.writeHead(status, headers).end(body);
}

async function answerTo(request: IncomingMessage, options: RestOptions): Promise<Answer> {
  try {
    await requireCaller(request.socket, options.rules);
    requireOwnHost(request);
    return await route(request, options);
  } catch (error) {
    if (error instanceof CallerRefusedError) return failed(403, 'Forbidden');
    const { code, message: said } = rpcFailureOf(error);
    if (code === rpcCodes.PERMISSION_DENIED) return failed(403, said);
    if (code === rpcCodes.NOT_FOUND) return failed(404, said);
    if (code === rpcCodes.INVALID_ARGUMENT) return badRequest;
    return failed(500, said);
  }
}

/** A page in a browser of the guest could have a name of its own resolved to loopback, and read what is answered. */
function requireOwnHost({ headers: { host, origin } }: IncomingMessage): void {
  const isOwn = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?$/.test(host ?? 'localhost');
  if (!isOwn || origin !== undefined)
    throw new CallerRefusedError('this agent answers programs on its machine');
}

async function route(request: IncomingMessage, options: RestOptions): Promise<Answer> {
  const { attestation, dataHub, features, version } = options;
  const base = 'http://localhost';
  if (!URL.canParse(request.url ?? '/', base)) return badRequest;
  const { pathname, searchParams } = new URL(request.url ?? '/', base);
  const isGet = request.method === 'GET';
  const [, root = '', call = '', ...rest] = pathname.split('/');
  if (pathname === '/info') {
    if (!isGet) return notAllowed;
    const tee = features === 'resource' ? {} : { tee: attestation.tee };
    return json({ version, ...tee, feature: features });
  }
  if (root === 'cdh') {
    if (features === 'attestation') return failed(404, 'Resource Feature Not Enabled');
    if (call !== 'resource') return notFound;
    if (!isGet) return notAllowed;
    const secret = await dataHub.resource(`kbs:///${rest.join('/')}`);
    const bytes = openSecret(secret).slice();
    secret.zero();
    return octets(bytes);
  }
  if (root !== 'aa' || rest.length > 0) return notFound;
  if (features === 'resource') return failed(404, 'Attestation Feature Not Enabled');
  if (call === 'aael') {
    if (request.method !== 'POST') return notAllowed;
    logEntry.parseText(await bodyOf(request));
    return json(logResults[await attestation.extend()]);
  }
  if (call !== 'token' && call !== 'evidence' && call !== 'additional-evidence') return notFound;
  if (!isGet) return notAllowed;
  if (call === 'token') {
    const kind = only(searchParams, 'token_type');
    return kind === undefined ? badRequest : octets(await attestation.token(kind));
  }
  const data = runtimeDataOf(searchParams);
  if (data === undefined) return badRequest;
  return octets(
    call === 'evidence' ? await attestation.evidence(data) : await attestation.additionalEvidence(data),
  );
}

/** As api-server-rest words them. */
const logResults: Readonly<Record<number, { success: string; message?: string }>> = {
  0: { success: 'true' },
  1: { success: 'false', message: 'The platform does not support runtime measurement' },
  2: { success: 'false', message: 'Attestation Agent does not enable eventlog recording' },
};

/** Text as it is, or the URL-safe base64 of bytes. */
function runtimeDataOf(parameters: URLSearchParams): Uint8Array | undefined {
  const given = only(parameters, 'runtime_data');
  if (given === undefined) return undefined;
  const encodings = parameters.getAll('encoding');
  if (encodings.length === 0) return new TextEncoder().encode(given);
  return encodings.length === 1 && encodings[0] === 'base64'
    ? fromBase64Url(given, 'runtime_data')
    : undefined;
}

function only(parameters: URLSearchParams, name: string): string | undefined {
  const [value, ...others] = parameters.getAll(name);
  return others.length === 0 ? value : undefined;
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    length += part.length;
    if (length > largestBody) throw new InvalidArgumentError('body', `it has more than ${largestBody} bytes`);
    parts.push(part);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(parts));
  } catch {
    throw new MalformedError({
      structure: logEntry.name,
      field: '/',
      offset: 0,
      expected: 'text',
      found: 'bytes that are none',
    });
  }
}
