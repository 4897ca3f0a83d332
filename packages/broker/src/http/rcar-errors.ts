import { type RcarError, type RcarErrorVariant, rcarErrorOf } from '@vouchsafe/protocol';
import { InvalidArgumentError, MalformedError, RefusedError, VouchsafeError } from '@vouchsafe/sev';
import { ForbiddenError, NotFoundError, UnauthenticatedError } from '../administration/refused.js';
import {
  ChallengeRefusedError,
  EvidenceRefusedError,
  ReleaseDeniedError,
  ResourceAbsentError,
  SessionRefusedError,
} from '../attestation/refused.js';
import { TokenRefusedError } from '../token/refused.js';
import { isStateRefusal, nameOfStatus, RateLimitedError, statusOf } from './errors.js';

/** What a route is for: the same mistake has another name in each, as with Trustee. */
export type RcarPurpose = 'attestation' | 'resource' | 'administration' | 'policy' | 'reference-values';

const malformedVariants: Readonly<Record<RcarPurpose, RcarErrorVariant>> = {
  attestation: 'AttestationError',
  resource: 'SerdeError',
  administration: 'SerdeError',
  policy: 'ParsePolicyError',
  'reference-values': 'RvpsError',
};

/**
 * Trustee's answers, which unmodified clients know: 401 for nearly everything, and the error object in every body. Two
 * differ on purpose: a denial is 403 and an absent resource 404, so that no client is sent into attesting again. What is
 * no answer at all (too large, too slow, too often, a broker that cannot work) keeps its usual status.
 */
export function rcarAnswerTo(
  error: unknown,
  purpose: RcarPurpose,
): { readonly status: number; readonly headers: Readonly<Record<string, string>>; readonly body: RcarError } {
  const answer = (status: number, variant: RcarErrorVariant, detail: string) => ({
    status,
    headers: {},
    body: rcarErrorOf(variant, detail.slice(0, 4096)),
  });
  if (error instanceof ReleaseDeniedError) return answer(403, 'PolicyDeny', error.message);
  if (error instanceof ResourceAbsentError) return answer(404, 'PluginInternalError', error.message);
  if (error instanceof ChallengeRefusedError || error instanceof EvidenceRefusedError)
    return answer(401, 'AttestationError', error.message);
  if (error instanceof SessionRefusedError)
    return answer(401, purpose === 'attestation' ? 'AttestationError' : 'TokenNotFound', error.message);
  if (error instanceof TokenRefusedError) return answer(401, 'TokenVerifierError', error.message);
  if (error instanceof UnauthenticatedError || error instanceof ForbiddenError)
    return answer(401, 'AdminAuthAccess', error.message);
  if (error instanceof RateLimitedError) {
    const { body } = answer(429, 'HTTPFailed', error.message);
    return { status: 429, headers: { 'retry-after': String(error.retryAfter) }, body };
  }
  if (isStateRefusal(error))
    return answer(
      503,
      'StorageBackendInitialization',
      'the broker cannot answer now; its operator has to look',
    );
  if (error instanceof RefusedError) return answer(401, malformedVariants[purpose], withHint(error));
  if (error instanceof NotFoundError)
    return answer(401, purpose === 'reference-values' ? 'RvpsError' : 'PluginInternalError', withHint(error));
  const status = statusOf(error);
  if (error instanceof MalformedError && error.structure === 'resource path')
    return answer(404, 'InvalidRequestPath', error.message);
  if (error instanceof MalformedError || error instanceof InvalidArgumentError)
    return answer(401, malformedVariants[purpose], withHint(error));
  if (error instanceof VouchsafeError && status === 503)
    return answer(503, 'PluginInternalError', `the broker cannot answer now: ${error.message}`);
  return answer(status, status === 500 ? 'PluginInternalError' : 'HTTPFailed', nameOfStatus(status));
}

const withHint = ({ message, hint }: VouchsafeError) =>
  hint === undefined ? message : `${message}; ${hint}`;
