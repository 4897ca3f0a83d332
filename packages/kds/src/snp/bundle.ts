import { digest, fromBase64, MalformedError, toBase64, toHex, UnavailableError } from '@vouchsafe/sev';
import { NotCachedError } from '../client.js';
import { UnknownToServiceError } from '../request.js';
import { checkEndorsement, isCurrent } from './checked-endorsement.js';
import type { EndorsementClient } from './endorsement-client.js';
import { type EndorsementRequest, endorsementPath, readEndorsementPath } from './endorsement-request.js';

/**
 * Endorsements in one file, for machines without a network: JSON in UTF-8,
 *
 *     { "format": "vouchsafe-kds-bundle", "version": 1,
 *       "entries": [ { "path": "/vcek/v1/Milan/cert_chain", "sha256": "…", "content": "…" } ] }
 *
 * Each entry is what AMD's service answers at `path`, in base64, with its digest in hexadecimal. Entries are sorted by
 * path, each path is there once and in the client's own form, and the text is exactly what {@link writeBundle} writes:
 * there is one bundle for one set of answers.
 */
export interface BundleEntry {
  readonly request: EndorsementRequest;
  readonly bytes: Uint8Array;
}

const format = 'vouchsafe-kds-bundle';
/** Some ten thousand certificates. */
const largestBundle = 32 * 1024 * 1024;
const structure = 'endorsement bundle';

export async function writeBundle(entries: readonly BundleEntry[]): Promise<Uint8Array> {
  const byPath = new Map(entries.map((entry) => [endorsementPath(entry.request), entry.bytes]));
  const written = [];
  for (const path of [...byPath.keys()].sort()) {
    const bytes = byPath.get(path)!;
    written.push({ path, sha256: toHex(await digest('sha256', bytes)), content: toBase64(bytes) });
  }
  return new TextEncoder().encode(
    `${JSON.stringify({ format, version: 1, entries: written }, undefined, 1)}\n`,
  );
}

/**
 * Reads a bundle strictly; every entry is what its path asks for.
 * @throws MalformedError naming the entry
 */
export async function readBundle(bytes: Uint8Array): Promise<BundleEntry[]> {
  if (bytes.length > largestBundle)
    throw malformed('length', `at most ${largestBundle} bytes`, `${bytes.length}`);
  const { entries: given, ...head } = parseObject(bytes);
  if (head['format'] !== format || head['version'] !== 1 || !Array.isArray(given))
    throw malformed('format', `${format}, version 1`, 'something else');
  const entries: BundleEntry[] = [];
  for (const [index, entry] of given.entries()) entries.push(await readEntry(`entry ${index + 1}`, entry));
  const again = await writeBundle(entries);
  if (again.length !== bytes.length || again.some((byte, i) => byte !== bytes[i]))
    throw malformed('text', 'entries sorted, each once, and nothing beside them', 'another text');
  return entries;
}

async function readEntry(field: string, entry: unknown): Promise<BundleEntry> {
  const member = (name: string): string => {
    const value: unknown = entry !== null && typeof entry === 'object' ? Reflect.get(entry, name) : undefined;
    if (typeof value !== 'string') throw malformed(field, `a text as ${name}`, 'none');
    return value;
  };
  const request = readEndorsementPath(member('path'));
  if (request === undefined) throw malformed(field, 'a path of the key service', 'another');
  const bytes = decoded(field, member('content'));
  if (toHex(await digest('sha256', bytes)) !== member('sha256'))
    throw malformed(field, 'content with the digest that stands beside it', 'other content');
  try {
    await checkEndorsement(request, bytes);
  } catch (error) {
    if (!(error instanceof UnavailableError)) throw error;
    throw malformed(field, `what ${endorsementPath(request)} asks for`, 'something else', error);
  }
  return { request, bytes };
}

function parseObject(bytes: Uint8Array): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    if (value !== null && typeof value === 'object') return { ...value };
  } catch (cause) {
    throw malformed('text', 'JSON in UTF-8', 'something else', cause);
  }
  throw malformed('text', 'an object', 'another value');
}

function decoded(field: string, text: string): Uint8Array {
  try {
    return fromBase64(text);
  } catch (cause) {
    throw malformed(field, 'content in base64', 'other text', cause);
  }
}

function malformed(field: string, expected: string, found: string, cause?: unknown): MalformedError {
  const hint = 'nothing of it was kept; export the bundle anew and copy it whole';
  return new MalformedError({ structure, field, offset: 0, expected, found }, { hint, cause });
}

export interface ExportedBundle {
  readonly bytes: Uint8Array;
  readonly requests: readonly EndorsementRequest[];
  /** What the client could not give, with the reason. */
  readonly missing: readonly { readonly request: EndorsementRequest; readonly reason: string }[];
}

/** A bundle of what a client gives for the requests: an offline client what it holds, another what it can fetch too. */
export async function exportBundle(
  client: EndorsementClient,
  requests: readonly EndorsementRequest[],
): Promise<ExportedBundle> {
  const entries: BundleEntry[] = [];
  const missing: ExportedBundle['missing'][number][] = [];
  for (const request of new Map(requests.map((each) => [endorsementPath(each), each])).values()) {
    try {
      entries.push({ request, bytes: await client.endorsement(request) });
    } catch (error) {
      if (!(error instanceof NotCachedError || error instanceof UnknownToServiceError)) throw error;
      missing.push({ request, reason: error.message });
    }
  }
  return { bytes: await writeBundle(entries), requests: entries.map(({ request }) => request), missing };
}

export interface ImportedBundle {
  readonly kept: readonly EndorsementRequest[];
  /** Revocation lists that are not current any more, or not yet. */
  readonly stale: readonly EndorsementRequest[];
}

/**
 * Puts entries, of a bundle or of a store, into a client's cache.
 * @param now milliseconds since 1970
 * @throws UnavailableError when the cache cannot be written
 */
export async function importEntries(
  client: EndorsementClient,
  entries: readonly BundleEntry[],
  now: number,
): Promise<ImportedBundle> {
  const kept: EndorsementRequest[] = [];
  const stale: EndorsementRequest[] = [];
  for (const { request, bytes } of entries) {
    if (!isCurrent(await checkEndorsement(request, bytes), now)) {
      stale.push(request);
      continue;
    }
    await client.keepEndorsement(request, bytes);
    kept.push(request);
  }
  return { kept, stale };
}
