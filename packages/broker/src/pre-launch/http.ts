import {
  largestRequest,
  launchBundle,
  launchRequest,
  launchSessionsPath,
  measurementEvidence,
  measurementPath,
  refusal,
  secretDelivery,
} from '@vouchsafe/protocol';
import {
  type Appraisal,
  InvalidArgumentError,
  MalformedError,
  UnavailableError,
  verdict,
} from '@vouchsafe/sev';
import { type FastifyError, type FastifyReply, fastify } from 'fastify';
import { isLoopback, type ListenAddress, listen } from '../http/listen.js';
import type { GuestOwner } from './owner.js';
import { refusalOf } from './refusal.js';

export type OwnerAddress = ListenAddress;

/** What an operator may write to a log: verdicts, never keys, packets, or the id that uses a session up. */
export interface OwnerDecision {
  readonly step: 'session' | 'measurement';
  readonly accepted: boolean;
  readonly root?: string;
  /** Ids of the checks that failed. */
  readonly failed: readonly string[];
}

export interface ServeGuestOwnerOptions {
  readonly onDecision?: (decision: OwnerDecision) => void;
  /** Failures of this program, which a caller is told nothing of. */
  readonly onError?: (error: Error) => void;
}

export interface GuestOwnerServer {
  /** `http://127.0.0.1:PORT` or `unix:PATH`, as `connectGuestOwner` takes it. */
  readonly address: string;
  /** Stops answering; the owner is the caller's to close. */
  close(): Promise<void>;
}

/**
 * Answers hosts over HTTP. Refusals are 403 with the Appraisal's checks, malformed requests 400 with the member, a body
 * over the limit 413, a service that the owner needs and that does not answer 503.
 * @throws InvalidArgumentError for an owner who trusts a development root and would listen beyond loopback
 * @throws UnavailableError when the address cannot be had
 */
export async function serveGuestOwner(
  owner: GuestOwner,
  address: OwnerAddress,
  { onDecision = () => undefined, onError = () => undefined }: ServeGuestOwnerOptions = {},
): Promise<GuestOwnerServer> {
  requireLoopbackForDevelopment(owner, address);
  const app = fastify({
    logger: false,
    bodyLimit: largestRequest,
    requestTimeout: 30_000,
    forceCloseConnections: true,
  });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (_request, body, done) =>
    done(null, body),
  );

  app.post(launchSessionsPath, async ({ body }, reply) => {
    const { appraisal, bundle } = await owner.openSession(launchRequest.parseText(textOf(body)));
    onDecision(decisionOf('session', appraisal));
    return bundle === undefined
      ? refuse(reply, appraisal)
      : reply.code(201).send(launchBundle.toJson(bundle));
  });

  app.post<{ Params: { launchId: string } }>(measurementRoute, async ({ body, params }, reply) => {
    const evidence = measurementEvidence.parseText(textOf(body));
    requireSameLaunch(params.launchId, evidence.launchId);
    const { appraisal, delivery } = await owner.appraiseMeasurement(evidence);
    onDecision(decisionOf('measurement', appraisal));
    return delivery === undefined ? refuse(reply, appraisal) : reply.send(secretDelivery.toJson(delivery));
  });

  app.setNotFoundHandler((_request, reply) => reply.code(404).send({ error: 'not-found' }));
  app.setErrorHandler<FastifyError | Error>((error, _request, reply) => {
    const { status, body } = answerTo(error);
    if (status === 500) onError(error);
    return reply.code(status).send(body);
  });

  const sweep = setInterval(() => void owner.endExpiredSessions().catch(onError), sweepInterval);
  sweep.unref();
  app.addHook('onClose', async () => clearInterval(sweep));
  return { address: await listen(app, address, 'guest owner'), close: () => app.close() };
}

const sweepInterval = 10_000;
const measurementRoute = measurementPath(':launchId').replace(encodeURIComponent(':'), ':');

function requireLoopbackForDevelopment({ development }: GuestOwner, address: OwnerAddress): void {
  if (!development || isLoopback(address)) return;
  const host = 'host' in address ? address.host : '';
  throw new InvalidArgumentError(
    'host',
    `an owner who trusts a development root answers on loopback only, not on ${host}`,
  );
}

function requireSameLaunch(inPath: string, inBody: string): void {
  if (inPath === inBody) return;
  throw new MalformedError({
    structure: measurementEvidence.name,
    field: '/launchId',
    offset: 0,
    expected: 'the launch id of the address',
    found: 'another',
  });
}

const textOf = (body: unknown): string => (typeof body === 'string' ? body : '');

function refuse(reply: FastifyReply, appraisal: Appraisal) {
  return reply.code(403).send(refusal.toJson(refusalOf(appraisal)));
}

function decisionOf(step: OwnerDecision['step'], appraisal: Appraisal): OwnerDecision {
  const { accepted, failed } = verdict(appraisal);
  const root = appraisal.root?.name;
  return { step, accepted, ...(root === undefined ? {} : { root }), failed: failed.map(({ id }) => id) };
}

/** Only errors that are meant for callers are shown to them. */
function answerTo(error: Error): { status: number; body: Record<string, unknown> } {
  if (error instanceof MalformedError) {
    const { code, structure, field, expected, found } = error;
    return { status: 400, body: { error: code, structure, field, expected, found } };
  }
  if (error instanceof InvalidArgumentError) {
    return { status: 400, body: { error: error.code, argument: error.argument, message: error.message } };
  }
  if (error instanceof UnavailableError) {
    return {
      status: 503,
      body: {
        error: error.code,
        message: error.message,
        ...(error.hint === undefined ? {} : { hint: error.hint }),
      },
    };
  }
  const status = 'statusCode' in error && typeof error.statusCode === 'number' ? error.statusCode : 500;
  if (status >= 400 && status < 500) return { status, body: { error: httpErrors[status] ?? 'bad-request' } };
  return { status: 500, body: { error: 'internal' } };
}

const httpErrors: Readonly<Record<number, string>> = { 413: 'too-large', 415: 'not-json' };
