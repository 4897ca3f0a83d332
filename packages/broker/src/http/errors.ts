import {
  appraisalToJson,
  InvalidArgumentError,
  MalformedError,
  RefusedError,
  UnavailableError,
  VouchsafeError,
} from '@vouchsafe/sev';
import { hasZodFastifySchemaValidationErrors } from 'fastify-type-provider-zod';
import { ForbiddenError, NotFoundError, UnauthenticatedError } from '../administration/refused.js';
import { stateChecks } from '../state/checks.js';

/** One party asks too often. */
export class RateLimitedError extends VouchsafeError {
  readonly code = 'rate-limited';
  readonly statusCode = 429;
  /** Whole seconds. */
  readonly retryAfter: number;

  constructor(retryAfter: number) {
    super('too many requests', { hint: `ask again in ${retryAfter} s` });
    this.retryAfter = retryAfter;
  }
}

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Readonly<Record<string, unknown>>;
}

/** How a failure is told to an administrator or a host. Only errors that are meant for callers are shown to them. */
export function answerTo(error: unknown): Answer {
  if (hasZodFastifySchemaValidationErrors(error)) {
    const [issue] = error.validation;
    const field = `${error.validationContext ?? 'body'}${issue?.instancePath ?? ''}`;
    return answer(400, {
      error: 'malformed',
      structure: 'request',
      field,
      message: `${field}: ${issue?.message}`,
    });
  }
  const status = statusOf(error);
  if (!(error instanceof VouchsafeError) || status === 500)
    return answer(status, { error: nameOfStatus(status) });
  const { code, message, hint } = error;
  const evidence =
    error instanceof MalformedError
      ? { structure: error.structure, field: error.field, expected: error.expected, found: error.found }
      : error instanceof InvalidArgumentError
        ? { argument: error.argument }
        : {};
  const checks = error instanceof RefusedError ? appraisalToJson(error.appraisal) : {};
  const body = { ...checks, error: code, message, ...(hint === undefined ? {} : { hint }), ...evidence };
  if (error instanceof RateLimitedError)
    return answer(status, body, { 'retry-after': String(error.retryAfter) });
  if (error instanceof UnauthenticatedError) return answer(status, body, { 'www-authenticate': 'Bearer' });
  return answer(status, body);
}

/** Whether the broker refused its own state or its clock: nobody who asks can do anything about it. */
export function isStateRefusal(error: unknown): boolean {
  return (
    error instanceof RefusedError && error.appraisal.checks.some(({ id }) => Object.hasOwn(stateChecks, id))
  );
}

/** The status of a failure: 500 for what was never meant to happen. */
export function statusOf(error: unknown): number {
  if (error instanceof MalformedError || error instanceof InvalidArgumentError) return 400;
  if (error instanceof UnauthenticatedError) return 401;
  if (isStateRefusal(error)) return 503;
  if (error instanceof ForbiddenError || error instanceof RefusedError) return 403;
  if (error instanceof NotFoundError) return 404;
  if (error instanceof RateLimitedError) return 429;
  if (error instanceof UnavailableError) return 503;
  const status = error instanceof Error && 'statusCode' in error ? Number(error.statusCode) : 500;
  return status >= 400 && status < 500 ? status : 500;
}

const names: Readonly<Record<number, string>> = {
  404: 'not-found',
  408: 'too-slow',
  413: 'too-large',
  415: 'not-json',
  429: 'rate-limited',
  500: 'internal',
};

export const nameOfStatus = (status: number): string => names[status] ?? 'bad-request';

function answer(
  status: number,
  body: Readonly<Record<string, unknown>>,
  headers: Readonly<Record<string, string>> = {},
): Answer {
  return { status, body, headers };
}
