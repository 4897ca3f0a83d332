import { parseKeyId, parseStrictJson, resourcePathText, wrappingKeySize } from '@vouchsafe/protocol';
import { fromBase64, InvalidArgumentError, MalformedError, openSecret, Secret } from '@vouchsafe/sev';
import type { AgentResources } from './resources.js';

/** Secrets in one table, at most. */
const mostEntries = 1024;
/** Length of a name, at most, in characters. */
const longestName = 1024;

export interface OfflineTableOptions {
  /** For errors: which table it is. */
  readonly name: string;
  /** Whether everything in it is a key of 32 bytes. */
  readonly keysOnly: boolean;
}

/**
 * Reads a table of secrets that came without a broker: JSON, each name with base64. Names are `repository/type/tag`, with
 * or without `kbs:///` before them, or any other text that the packets of encrypted images name.
 * @throws MalformedError for anything else, for a name twice in either spelling, and for keys of another length than 32
 * bytes; it does not repeat what stands there
 */
export function offlineTable(table: Secret, options: OfflineTableOptions): AgentResources {
  const { name: structure, keysOnly } = options;
  const refuse = (field: string, expected: string, found: string): never => {
    throw new MalformedError({ structure, field, offset: 0, expected, found });
  };
  const json = parseStrictJson(structure, textOf(openSecret(table), refuse));
  if (typeof json !== 'object' || json === null || Array.isArray(json))
    return refuse('/', 'an object', 'something else');
  const entries = Object.entries(json);
  if (entries.length > mostEntries) refuse('/', `at most ${mostEntries} secrets`, `${entries.length}`);
  const secrets = new Map<string, Secret>();
  try {
    for (const [number, [name, text]] of entries.entries()) {
      const field = `secret ${number + 1}`;
      if (name === '' || name.length > longestName)
        refuse(field, `a name of 1 to ${longestName} characters`, `${name.length}`);
      const bytes = typeof text === 'string' ? base64Of(text) : undefined;
      if (bytes === undefined) return refuse(field, 'base64', 'something else');
      const secret = Secret.take(bytes);
      const plain = plainName(name);
      const isTwice = secrets.has(plain);
      if (!isTwice) secrets.set(plain, secret);
      if (isTwice) refuse(field, 'each name once', 'a name twice');
      if (keysOnly && secret.length !== wrappingKeySize)
        refuse(field, `a key of ${wrappingKeySize} bytes`, `${secret.length} bytes`);
    }
  } catch (error) {
    for (const secret of secrets.values()) secret.zero();
    throw error;
  }
  return {
    async find(name) {
      const secret = secrets.get(plainName(name));
      return secret === undefined ? undefined : Secret.copyOf(openSecret(secret));
    },
  };
}

/** `kbs:///a/b/c`, `/a/b/c` and `a/b/c` are one name. */
function plainName(name: string): string {
  try {
    return resourcePathText(parseKeyId(name));
  } catch (error) {
    if (error instanceof MalformedError) return name;
    throw error;
  }
}

function base64Of(text: string): Uint8Array | undefined {
  try {
    return fromBase64(text);
  } catch (error) {
    if (error instanceof InvalidArgumentError) return undefined;
    throw error;
  }
}

function textOf(
  bytes: Uint8Array,
  refuse: (field: string, expected: string, found: string) => never,
): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return refuse('/', 'text', 'bytes that are none');
  }
}
