import { InvalidArgumentError } from '@vouchsafe/sev';
import type { ResourcePath } from '../rcar/resource-path.js';
import { parseKeyId } from './key-id.js';

/** What the user of a container tool wrote behind `provider:NAME:`. */
export interface KeyProviderParameters {
  /** Which key to wrap with. */
  readonly keyId?: ResourcePath;
  /** File with the key, on the machine of the key provider. */
  readonly keyPath?: string;
}

const known = ['keyid', 'keypath', 'algorithm', 'sample'];

/**
 * Reads `keyid=…::keypath=…::algorithm=A256GCM`, the parameters of Confidential Containers' key provider. Text without
 * `=` says nothing: tools pass `Enabled` when the user wrote no parameters.
 * @throws InvalidArgumentError for a name that is not known or given twice, for an algorithm other than A256GCM, and for
 * `sample=true`, whose key everybody knows
 * @throws MalformedError for a key id that is none
 */
export function parseKeyProviderParameters(texts: readonly string[]): KeyProviderParameters {
  const values = new Map<string, string>();
  for (const field of texts.flatMap((text) => text.split('::'))) {
    const [, name, value] = /^([^=]*)=(.*)$/s.exec(field) ?? [];
    if (name === undefined || value === undefined) continue;
    if (!known.includes(name))
      throw new InvalidArgumentError('key provider parameters', `expected ${known.join(', ')}`);
    if (values.has(name)) throw new InvalidArgumentError(name, 'it is given twice');
    values.set(name, value);
  }
  const [keyId, keyPath] = [values.get('keyid'), values.get('keypath')];
  const algorithm = values.get('algorithm') ?? 'A256GCM';
  if (algorithm !== 'A256GCM')
    throw new InvalidArgumentError('algorithm', 'expected A256GCM: the others do not show what was altered');
  const sample = values.get('sample') ?? 'false';
  if (sample !== 'false')
    throw new InvalidArgumentError('sample', 'the sample key is published: whoever reads the image knows it');
  return {
    ...(keyId === undefined ? {} : { keyId: parseKeyId(keyId) }),
    ...(keyPath === undefined ? {} : { keyPath }),
  };
}
