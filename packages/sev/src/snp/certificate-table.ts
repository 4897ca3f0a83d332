import { concat, isZero } from '../bytes.js';
import type { Location } from '../codec/field.js';
import { bytesField, u32 } from '../codec/fields.js';
import { type Guid, guidFromTextOrder, guidToTextOrder, zeroGuid } from '../codec/guid.js';
import { structure } from '../codec/structure.js';
import { InvalidArgumentError, MalformedError } from '../errors.js';
import { type ProcessorModel, processorOfSignature } from './product-line.js';

const source = 'GHCB specification, SNP extended guest request, certificate data';

/** One row of the table's head. GUIDs stand in the order of their text here, unlike elsewhere in firmware. */
export const certificateTableEntry = structure(
  { name: 'certificate table entry', size: 24, source },
  {
    guid: bytesField(
      0x00,
      16,
      'what the entry holds, a GUID in the order of its text; zero closes the table',
    ),
    offset: u32(0x10, 'where its bytes begin, counted from the start of the table'),
    length: u32(0x14, 'how many there are'),
  },
);

/** What go-sev-guest adds to a table for reports that do not name their processor. */
export const extraPlatformInfo = structure(
  { name: 'extra platform info', size: 8, source: 'go-sev-guest, abi' },
  {
    size: u32(0, 'size of this structure', { equals: 8 }),
    signature: u32(4, 'CPUID function 1, EAX, of the processor'),
  },
);

/** What entries hold, by GUID. The entry `ASK` holds the ASVK where the VEK is a VLEK. */
export const certificateTableGuids = {
  ARK: 'c0b406a4-a803-4952-9743-3fb6014cd0ae',
  ASK: '4ab7b379-bbac-4fe4-a02f-05aef327c782',
  VCEK: '63da758d-e664-4564-adc5-f4b93be8accd',
  VLEK: 'a8074bc2-a25a-483e-aae6-39c045a0b8a1',
  CRL: '92f81bc3-5811-4d3d-97ff-d19f88dc67ea',
  PLATFORM: 'ecae0c0f-9502-43b1-afa2-0ae2e0d565b6',
} as const satisfies Record<string, Guid>;
export type CertificateTableKind = keyof typeof certificateTableGuids | 'other';

export interface CertificateTableEntry {
  readonly guid: Guid;
  readonly kind: CertificateTableKind;
  /** A certificate or list in DER or in PEM, as the host put it in. */
  readonly bytes: Uint8Array;
}

/**
 * Reads the table of certificates that a host hands to a guest beside a report (`auxblob` of configfs-tsm). The host
 * made it, so nothing in it is to be believed before it has been verified. No bytes, or zeros alone, are a table without
 * entries; so is its closing entry alone. Bytes that no entry names are padding.
 * @throws MalformedError when the closing entry is missing, an entry is empty or comes twice, points outside or into the
 * head, or shares bytes with another
 */
export function parseCertificateTable(
  bytes: Uint8Array,
  location: Location = { offset: 0, path: 'certificate table' },
): CertificateTableEntry[] {
  if (isZero(bytes)) return [];
  const refuse = (field: string, at: number, expected: string, found: string): never => {
    const { offset, path: name = 'certificate table' } = location;
    throw new MalformedError({ structure: name, field, offset: offset + at, expected, found });
  };
  const head: { guid: Guid; at: number; start: number; end: number }[] = [];
  const seen = new Set<Guid>();
  for (let at = 0; ; at += certificateTableEntry.size) {
    if (at + certificateTableEntry.size > bytes.length)
      refuse('closing entry', at, 'an entry of zeros', 'the end of the table');
    const { guid: guidBytes, offset, length } = certificateTableEntry.parseAt(bytes, at, location);
    const guid = guidFromTextOrder(guidBytes);
    if (guid === zeroGuid) {
      if (offset !== 0 || length !== 0)
        refuse('closing entry', at, 'zeros', `offset ${offset}, length ${length}`);
      break;
    }
    if (seen.has(guid)) refuse('guid', at, 'each GUID once', `${guid} a second time`);
    seen.add(guid);
    head.push({ guid, at, start: offset, end: offset + length });
  }
  const headSize = (head.length + 1) * certificateTableEntry.size;
  for (const { at, start, end } of head) {
    if (start === end) refuse('length', at, 'one byte at least', '0');
    if (start < headSize || end > bytes.length) {
      refuse('offset', at, `bytes from ${headSize} to ${bytes.length}`, `${start} to ${end}`);
    }
  }
  const byStart = head.toSorted((a, b) => a.start - b.start);
  for (const [i, { at, start }] of byStart.entries()) {
    const before = byStart[i - 1];
    if (before !== undefined && start < before.end)
      refuse('offset', at, `bytes of its own, from ${before.end}`, `${start}, inside ${before.guid}`);
  }
  return head.map(({ guid, start, end }) => ({
    guid,
    kind: kindOf(guid),
    bytes: new Uint8Array(bytes.subarray(start, end)),
  }));
}

/**
 * A table of the given entries, in their order, closed and without padding.
 * @throws InvalidArgumentError for a GUID that comes twice or is zero, and for an entry without bytes
 */
export function buildCertificateTable(
  entries: readonly Pick<CertificateTableEntry, 'guid' | 'bytes'>[],
): Uint8Array {
  const seen = new Set<Guid>([zeroGuid]);
  let offset = (entries.length + 1) * certificateTableEntry.size;
  const head = entries.map(({ guid, bytes }) => {
    const key = guid.toLowerCase();
    if (seen.has(key)) throw new InvalidArgumentError('entries', `${guid} cannot stand here, or not twice`);
    if (bytes.length === 0) throw new InvalidArgumentError('entries', `${guid} has no bytes`);
    seen.add(key);
    const row = certificateTableEntry.build({ guid: guidToTextOrder(guid), offset, length: bytes.length });
    offset += bytes.length;
    return row;
  });
  const closing = new Uint8Array(certificateTableEntry.size);
  return concat(...head, closing, ...entries.map(({ bytes }) => bytes));
}

/** What a table offers to verify a report with: each in DER or in PEM. */
export interface TableEndorsements {
  readonly vek?: Uint8Array;
  /** ASK or ASVK, and ARK. */
  readonly certificates: readonly Uint8Array[];
  readonly revocationLists: readonly Uint8Array[];
}

/** Sorts a table by use. Where it holds both kinds of VEK, the report's SIGNING_KEY says which one signed. */
export function endorsementsOfTable(
  entries: readonly CertificateTableEntry[],
  signingKey: 'VCEK' | 'VLEK',
): TableEndorsements {
  const of = (...kinds: readonly CertificateTableKind[]) =>
    entries.filter(({ kind }) => kinds.includes(kind)).map(({ bytes }) => bytes);
  const [vek] = of(signingKey);
  return {
    ...(vek === undefined ? {} : { vek }),
    certificates: of('ASK', 'ARK'),
    revocationLists: of('CRL'),
  };
}

/**
 * The processor that go-sev-guest's own entry names; undefined without that entry. The host says so, nobody signed it.
 * @throws MalformedError when the entry is not 8 bytes that say so
 */
export function processorOfTable(entries: readonly CertificateTableEntry[]): ProcessorModel | undefined {
  const entry = entries.find(({ kind }) => kind === 'PLATFORM');
  return entry && processorOfSignature(extraPlatformInfo.parse(entry.bytes).signature);
}

function kindOf(guid: Guid): CertificateTableKind {
  const kinds = Object.keys(certificateTableGuids) as (keyof typeof certificateTableGuids)[];
  return kinds.find((kind) => certificateTableGuids[kind] === guid) ?? 'other';
}
