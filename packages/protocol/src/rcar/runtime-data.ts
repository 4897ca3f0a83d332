import { concat, digest, InvalidArgumentError } from '@vouchsafe/sev';
import { canonicalJson } from '../json/canonical-json.js';
import type { RcarRuntimeData } from './messages.js';

/** Length of REPORT_DATA in bytes. */
const reportDataSize = 64;

/**
 * The text that a guest binds into its report: canonical JSON of nonce, key and additional evidence. Only the members of
 * the key that the protocol knows take part.
 */
export function canonicalRuntimeData(
  { nonce, 'tee-pubkey': key }: RcarRuntimeData,
  additionalEvidence = '',
): string {
  return canonicalJson({ 'additional-evidence': additionalEvidence, nonce, 'tee-pubkey': key });
}

/** The REPORT_DATA that binds runtime data (64 bytes): SHA-384 of the canonical text, then zeros. */
export async function reportDataOf(
  runtimeData: RcarRuntimeData,
  additionalEvidence = '',
): Promise<Uint8Array> {
  const text = canonicalRuntimeData(runtimeData, additionalEvidence);
  const hash = await digest('sha384', new TextEncoder().encode(text));
  return concat(hash, new Uint8Array(reportDataSize - hash.length));
}

/**
 * Refuses a broker's choice of hash that SEV-SNP evidence cannot follow. Brokers choose for some other kinds of TEE only;
 * without a choice it is SHA-384.
 * @throws InvalidArgumentError for another hash than SHA-384
 */
export function requireSha384(challengeParameters: unknown): void {
  if (typeof challengeParameters !== 'object' || challengeParameters === null) return;
  const selected = (challengeParameters as Record<string, unknown>)['selected-hash-algorithm'];
  if (selected === undefined) return;
  if (typeof selected !== 'string' || selected.toLowerCase() !== 'sha384')
    throw new InvalidArgumentError('hash of the challenge', 'expected SHA-384, or no choice');
}
