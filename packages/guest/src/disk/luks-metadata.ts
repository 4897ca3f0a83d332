import { canonicalJson, parseStrictJson } from '@vouchsafe/protocol';
import { digest, MalformedError, VouchsafeError } from '@vouchsafe/sev';

/** What a LUKS2 header says in its JSON area (LUKS2 On-Disk Format Specification 1.1.4, section 3). */
export interface LuksMetadata {
  readonly keySlots: readonly LuksKeySlot[];
  readonly segments: readonly LuksSegment[];
  /** Requirements that a reader must know, such as `online-reencrypt-v2`. */
  readonly requirements: readonly string[];
  /**
   * SHA-256, 32 bytes, of all that decides what the volume's plain text is: where its data lies, how it is encrypted,
   * and the salted digest of its volume key. Pass-phrases and key slots are not part of it.
   */
  readonly binding: Uint8Array;
}

export interface LuksKeySlot {
  readonly id: string;
  /** `luks2`, or `reencrypt` for what is no key slot. */
  readonly type: string;
  /** Of the volume key, in bytes. */
  readonly keySize: number;
  /** Of the area that holds it; empty when the header names none. */
  readonly encryption: string;
  /** End of that area, in bytes from the beginning of the header. */
  readonly end: number;
  /** Function that makes the area's key of a pass-phrase; empty when the header names none. */
  readonly derivation: string;
}

export interface LuksSegment {
  readonly id: string;
  /** `crypt`, or `linear` for data that is not encrypted. */
  readonly type: string;
  readonly encryption: string;
  /** Where the data begins, in bytes. */
  readonly offset: number;
  /** States of a re-encryption that is under way. */
  readonly flags: readonly string[];
}

/**
 * Reads what `cryptsetup luksDump --dump-json-metadata` prints.
 * @throws MalformedError for what is no metadata of LUKS2
 */
export async function parseLuksMetadata(text: string): Promise<LuksMetadata> {
  const whole = objectOf(readJson(text), 'metadata');
  const segments = entriesOf(whole['segments'], 'segments');
  const digests = entriesOf(whole['digests'], 'digests');
  const config = objectOf(whole['config'], 'config');
  const requirements = requirementsOf(config['requirements']);
  // Which key slots a digest vouches for changes with the pass-phrases.
  const bound = digests.map(([id, { keyslots: _, ...rest }]) => [id, rest]);
  const binding = canonicalJson({
    segments: Object.fromEntries(segments),
    digests: Object.fromEntries(bound),
    requirements,
  });
  return {
    keySlots: entriesOf(whole['keyslots'], 'keyslots').map(readKeySlot),
    segments: segments.map(readSegment),
    requirements,
    binding: await digest('sha256', new TextEncoder().encode(`${bindingContext}${binding}`)),
  };
}

const bindingContext = 'Vouchsafe LUKS2 binding 1\n';

type Members = Readonly<Record<string, unknown>>;

function readKeySlot([id, slot]: readonly [string, Members]): LuksKeySlot {
  const area = objectOf(slot['area'] ?? {}, `keyslots.${id}.area`);
  const kdf = objectOf(slot['kdf'] ?? {}, `keyslots.${id}.kdf`);
  const where = `keyslots.${id}`;
  return {
    id,
    type: textOf(slot['type'], `${where}.type`),
    keySize: numberOf(slot['key_size'], `${where}.key_size`),
    encryption: textOf(area['encryption'] ?? '', `${where}.area.encryption`),
    end: numberOf(area['offset'], `${where}.area.offset`) + numberOf(area['size'], `${where}.area.size`),
    derivation: textOf(kdf['type'] ?? '', `${where}.kdf.type`),
  };
}

function readSegment([id, segment]: readonly [string, Members]): LuksSegment {
  const where = `segments.${id}`;
  return {
    id,
    type: textOf(segment['type'], `${where}.type`),
    encryption: textOf(segment['encryption'] ?? '', `${where}.encryption`),
    offset: numberOf(segment['offset'], `${where}.offset`),
    flags: textsOf(segment['flags'] ?? [], `${where}.flags`),
  };
}

function requirementsOf(value: unknown): string[] {
  if (value === undefined) return [];
  const { mandatory = [], ...others } = objectOf(value, 'config.requirements');
  return [...textsOf(mandatory, 'config.requirements.mandatory'), ...Object.keys(others)];
}

function readJson(text: string): unknown {
  try {
    return parseStrictJson('LUKS2 metadata', text);
  } catch (error) {
    if (error instanceof VouchsafeError && !(error instanceof MalformedError))
      throw malformed('metadata', 'JSON', error.message);
    throw error;
  }
}

function objectOf(value: unknown, field: string): Members {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Members;
  throw malformed(field, 'an object', kindOf(value));
}

function entriesOf(value: unknown, field: string): (readonly [string, Members])[] {
  return Object.entries(objectOf(value, field)).map(([id, each]) => [id, objectOf(each, `${field}.${id}`)]);
}

function textOf(value: unknown, field: string): string {
  if (typeof value === 'string' && value.length <= 256) return value;
  throw malformed(field, 'a short text', kindOf(value));
}

function textsOf(value: unknown, field: string): string[] {
  if (Array.isArray(value)) return value.map((each, i) => textOf(each, `${field}.${i}`));
  throw malformed(field, 'a list', kindOf(value));
}

/** Sizes are numbers or, where they may pass 32 bits, decimal text. */
function numberOf(value: unknown, field: string): number {
  const number = typeof value === 'string' && /^\d{1,16}$/.test(value) ? Number(value) : value;
  if (typeof number === 'number' && Number.isSafeInteger(number) && number >= 0) return number;
  throw malformed(field, 'a whole number', kindOf(value));
}

function malformed(field: string, expected: string, found: string): MalformedError {
  return new MalformedError({ structure: 'LUKS2 metadata', field, offset: 0, expected, found });
}

const kindOf = (value: unknown) => (value === null ? 'null' : Array.isArray(value) ? 'a list' : typeof value);
