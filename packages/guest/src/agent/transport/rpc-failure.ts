import { LayerKeyError, type RpcCode, type RpcFailure, rpcCodes } from '@vouchsafe/protocol';
import {
  InvalidArgumentError,
  MalformedError,
  RefusedError,
  UnavailableError,
  VouchsafeError,
} from '@vouchsafe/sev';
import { RequestRefusedError } from '../../attestation/attestation-device.js';
import { AttestationRefusedError, ReleaseRefusedError, ResourceAbsentError } from '../../broker/refusals.js';
import { SecretAbsentError } from '../resources/resources.js';
import { SealedSecretRefusedError } from '../sealed-secrets.js';
import { UnimplementedError } from '../unimplemented.js';
import { CallerRefusedError } from './callers.js';

/** First match counts: the special kinds stand before the general ones that they extend. */
const codes: readonly (readonly [new (...given: never[]) => VouchsafeError, RpcCode])[] = [
  [UnimplementedError, rpcCodes.UNIMPLEMENTED],
  [CallerRefusedError, rpcCodes.PERMISSION_DENIED],
  [AttestationRefusedError, rpcCodes.PERMISSION_DENIED],
  [ReleaseRefusedError, rpcCodes.PERMISSION_DENIED],
  [RequestRefusedError, rpcCodes.PERMISSION_DENIED],
  [SealedSecretRefusedError, rpcCodes.PERMISSION_DENIED],
  [RefusedError, rpcCodes.PERMISSION_DENIED],
  [LayerKeyError, rpcCodes.PERMISSION_DENIED],
  [ResourceAbsentError, rpcCodes.NOT_FOUND],
  [SecretAbsentError, rpcCodes.NOT_FOUND],
  [MalformedError, rpcCodes.INVALID_ARGUMENT],
  [InvalidArgumentError, rpcCodes.INVALID_ARGUMENT],
  [UnavailableError, rpcCodes.UNAVAILABLE],
];

/**
 * What a caller is told. Failures that nobody foresaw are named as such and no more: their text could hold what the caller
 * must not see.
 */
export function rpcFailureOf(error: unknown): RpcFailure {
  if (!(error instanceof VouchsafeError)) return { code: rpcCodes.INTERNAL, message: 'the agent failed' };
  const [, code = rpcCodes.INTERNAL] = codes.find(([kind]) => error instanceof kind) ?? [];
  const { message, hint } = error;
  return { code, message: hint === undefined ? message : `${message} (${hint})` };
}
