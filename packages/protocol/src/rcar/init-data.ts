import { MalformedError } from '@vouchsafe/sev';
import { parse } from 'smol-toml';

/** Length of HOST_DATA in bytes: as much of an init-data digest as SEV-SNP has room for. */
const hostDataSize = 32;
const hashes = { sha256: 'SHA-256', sha384: 'SHA-384', sha512: 'SHA-512' } as const;
export type InitDataHash = keyof typeof hashes;

/** What the host gave a guest at launch besides its image, and bound by HOST_DATA: files by name. */
export interface InitData {
  readonly version: '0.1.0';
  readonly algorithm: InitDataHash;
  /** Usual names: `aa.toml`, `cdh.toml`, `policy.rego`. */
  readonly data: Readonly<Record<string, string>>;
}

/**
 * Reads init-data: TOML with `version`, `algorithm` and the table `data`, and nothing else.
 * @throws MalformedError that does not repeat the text
 */
export function parseInitData(toml: string): InitData {
  const { version, algorithm, data, ...others } = tomlOf(toml);
  if (version !== '0.1.0') refuse('version', '"0.1.0"');
  if (typeof algorithm !== 'string' || !Object.hasOwn(hashes, algorithm))
    return refuse('algorithm', Object.keys(hashes).join(', '));
  if (typeof data !== 'object' || data === null || Array.isArray(data) || data instanceof Date)
    return refuse('data', 'a table');
  for (const [name, text] of Object.entries(data)) {
    if (typeof text !== 'string') refuse(`data.${name.slice(0, 64)}`, 'text');
  }
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) refuse(unknown.slice(0, 64), 'no such member');
  return {
    version: '0.1.0',
    algorithm: algorithm as InitDataHash,
    data: data as Readonly<Record<string, string>>,
  };
}

/**
 * What HOST_DATA must hold for init-data (32 bytes): the hash that the text names, of the whole text as it is, not of what
 * it means; longer digests are cut.
 * @throws MalformedError as {@link parseInitData}
 */
export async function initDataDigest(toml: string): Promise<Uint8Array> {
  const { algorithm } = parseInitData(toml);
  const hash = await globalThis.crypto.subtle.digest(hashes[algorithm], new TextEncoder().encode(toml));
  return new Uint8Array(hash).slice(0, hostDataSize);
}

function tomlOf(toml: string): Record<string, unknown> {
  try {
    return parse(toml) as Record<string, unknown>;
  } catch {
    // The cause is left out: its message shows the lines around the mistake.
    return refuse('/', 'TOML', 'text that is not TOML');
  }
}

function refuse(field: string, expected: string, found = 'something else'): never {
  throw new MalformedError({ structure: 'init-data', field, offset: 0, expected, found });
}
