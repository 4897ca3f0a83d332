import {
  launchBundle,
  launchRequest,
  launchSessionsPath,
  measurementEvidence,
  measurementPath,
  refusal,
  secretDelivery,
} from '@vouchsafe/protocol';
import { type Appraisal, MalformedError, verdict } from '@vouchsafe/sev';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { GuestOwner } from './owner.js';
import { refusalOf } from './refusal.js';

/** What an operator may write to a log: verdicts, never keys, packets, or the id that uses a session up. */
export interface OwnerDecision {
  readonly step: 'session' | 'measurement';
  readonly accepted: boolean;
  readonly root?: string;
  /** Ids of the checks that failed. */
  readonly failed: readonly string[];
}

/**
 * What hosts ask before a launch, for a server that reads no body yet. Refusals are 403 with the Appraisal's checks.
 * @param ownerFor who answers a request
 */
export function preLaunchRoutes(
  scope: FastifyInstance,
  ownerFor: (request: FastifyRequest) => Promise<GuestOwner>,
  onDecision: (decision: OwnerDecision) => void,
): void {
  scope.addContentTypeParser('application/json', { parseAs: 'string' }, (_request, body, done) =>
    done(null, body),
  );

  scope.post(launchSessionsPath, async (request, reply) => {
    const asked = launchRequest.parseText(textOf(request.body));
    const { appraisal, bundle } = await (await ownerFor(request)).openSession(asked);
    onDecision(decisionOf('session', appraisal));
    return bundle === undefined
      ? refuse(reply, appraisal)
      : reply.code(201).send(launchBundle.toJson(bundle));
  });

  scope.post<{ Params: { launchId: string } }>(measurementRoute, async (request, reply) => {
    const evidence = measurementEvidence.parseText(textOf(request.body));
    requireSameLaunch(request.params.launchId, evidence.launchId);
    const { appraisal, delivery } = await (await ownerFor(request)).appraiseMeasurement(evidence);
    onDecision(decisionOf('measurement', appraisal));
    return delivery === undefined ? refuse(reply, appraisal) : reply.send(secretDelivery.toJson(delivery));
  });
}

const measurementRoute = measurementPath(':launchId').replace(encodeURIComponent(':'), ':');

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
