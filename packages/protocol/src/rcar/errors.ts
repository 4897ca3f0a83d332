import { z } from 'zod';
import { message } from '../message.js';

/** What a key broker says went wrong, by the last part of the error's `type`. */
export const rcarErrorVariants = [
  'AdminAuthInitialization',
  'AdminAuthAccess',
  'AttestationError',
  'HTTPFailed',
  'HTTPSFailed',
  'InvalidRequestPath',
  'JweError',
  'PluginManagerInitialization',
  'PluginNotFound',
  'PluginInternalError',
  'PolicyDeny',
  'ParsePolicyError',
  'PolicyEngineError',
  'RvpsError',
  'SerdeError',
  'StorageBackendInitialization',
  'TokenNotFound',
  'TokenVerifierError',
  'PrometheusError',
] as const;
export type RcarErrorVariant = (typeof rcarErrorVariants)[number];

const typePrefix = 'https://github.com/confidential-containers/kbs/errors/';

/**
 * The body of every answer that is not 200: a client that finds another one reports that it could not be read, and not
 * what it says.
 */
export const rcarError = message(
  'error of a key broker',
  z.object(
    {
      type: z.string({ error: 'expected text' }).max(256, { error: 'expected at most 256 characters' }),
      detail: z.string({ error: 'expected text' }).max(8192, { error: 'expected at most 8192 characters' }),
    },
    { error: 'expected an object' },
  ),
);
export type RcarError = ReturnType<typeof rcarError.parse>;

/** An error body. `detail` is read by people at the other end. */
export function rcarErrorOf(variant: RcarErrorVariant, detail: string): RcarError {
  return { type: `${typePrefix}${variant}`, detail };
}

/** The variant that an error body names; undefined for one that we do not know. */
export function rcarErrorVariant({ type }: RcarError): RcarErrorVariant | undefined {
  return rcarErrorVariants.find((variant) => type === `${typePrefix}${variant}`);
}
