import { utf8Text } from '@vouchsafe/protocol';
import { InvalidArgumentError } from '@vouchsafe/sev';
import { cedarReleasePolicy } from './cedar/release-policy.js';
import { isWasm } from './compiled-rego/module-shape.js';
import { compiledReleasePolicy } from './compiled-rego/release-policy.js';
import type { ReleasePolicyKind, StoredPolicy } from './policy-store.js';
import type { ReleasePolicy } from './release-policy.js';
import { trusteeReleasePolicy } from './trustee/release-policy.js';

/**
 * Makes a release policy of its text, or of its WebAssembly.
 * @throws InvalidArgumentError for what does not type-check, is not recognised, or does not load
 */
export async function prepareReleasePolicy(
  kind: ReleasePolicyKind,
  content: Uint8Array,
): Promise<ReleasePolicy> {
  if (kind === 'compiled-rego') return compiledReleasePolicy(content);
  const text = utf8Text('policy', content);
  return kind === 'cedar' ? cedarReleasePolicy(text) : trusteeReleasePolicy(text);
}

/** The same for what the database holds. */
export async function prepareStoredPolicy({ kind, content }: StoredPolicy): Promise<ReleasePolicy> {
  if (kind === 'launch' || kind === 'issuer' || kind === 'attestation')
    throw new InvalidArgumentError('policy', `${kind} is no release policy`);
  return prepareReleasePolicy(kind, content);
}

/** Which language a policy is in: WebAssembly, Rego, or Cedar. @throws MalformedError for bytes that are neither that nor text */
export function languageOf(content: Uint8Array): ReleasePolicyKind {
  if (isWasm(content)) return 'compiled-rego';
  return /^\s*package\s/m.test(utf8Text('policy', content)) ? 'trustee' : 'cedar';
}
