import { concat } from '../bytes.js';
import { guidField, u16, u32 } from '../codec/fields.js';
import type { Guid } from '../codec/guid.js';
import { structure } from '../codec/structure.js';
import { InvalidArgumentError, MalformedError } from '../errors.js';
import { type FirmwareMetadata, readFirmwareMetadata } from './firmware-metadata.js';

/** The entries of the footer table that matter to SEV; others are kept and not interpreted. */
export const firmwareFooterGuids = {
  table: '96b582de-1fb2-45f7-baea-a366c55a082d',
  resetBlock: '00f771de-1a7e-4fcb-890e-68c77e2fb44e',
  secretArea: '4c2eb361-7d9b-4cc3-8081-127c90d3d294',
  hashTableArea: '7255371f-3a3b-4b04-927b-1da6efa8d454',
  sevMetadata: 'dc886566-984a-4798-a75e-5585a7bf67cc',
  svsmInfo: 'a789a612-0597-4c4b-a49f-cbb1fe9d1ddd',
} as const;

const source = 'edk2 OvmfPkg/ResetVector/Ia16/ResetVectorVtf0.asm';

/** Stands above an entry's data, because the table is read from its end. */
const entryTrailer = structure(
  { name: 'firmware footer entry', size: 18, source },
  {
    length: u16(0, 'length of the entry, these 18 bytes included', { unit: 'bytes' }),
    guid: guidField(2, 'kind of the entry'),
  },
);

const resetBlock = structure(
  { name: 'SEV-ES reset block', size: 4, source },
  { address: u32(0, 'where application CPUs begin: IP in the low 16 bits, CS base in the high ones') },
);

const area = structure(
  { name: 'launch area', size: 8, source },
  {
    base: u32(0, 'guest physical address'),
    size: u32(4, 'room', { unit: 'bytes' }),
  },
);

const metadataPointer = structure(
  { name: 'SEV metadata pointer', size: 4, source },
  { distance: u32(0, 'distance of the metadata from the end of the image', { unit: 'bytes' }) },
);

const svsmInfo = structure(
  { name: 'SVSM info', size: 4, source: 'coconut-svsm/svsm Documentation; sev-snp-measure ovmf.py' },
  { entry: u32(0, 'where the SVSM begins, from the start of its image', { unit: 'bytes' }) },
);

/** Guest memory that the firmware sets aside for the launch. */
export interface LaunchArea {
  /** Guest physical address. */
  readonly base: number;
  /** Bytes. */
  readonly size: number;
}

export interface FirmwareFooterEntry {
  readonly guid: Guid;
  readonly data: Uint8Array;
}

export interface FirmwareFooter {
  /** All entries, from the highest in the image to the lowest. */
  readonly entries: readonly FirmwareFooterEntry[];
  /** Where application CPUs of a SEV-ES guest begin. Absent where the firmware names none. */
  readonly resetAddress?: number;
  /** Where LAUNCH_SECRET puts the secret table. Absent where the firmware reserves no room for it. */
  readonly secretArea?: LaunchArea;
  /** Where the hashes of kernel, initrd and command line go. Absent where the firmware does not check them. */
  readonly hashTableArea?: LaunchArea;
  /** What SEV-SNP has to prepare besides the image. */
  readonly sevMetadata?: FirmwareMetadata;
  /** Where an SVSM begins, from the start of its image. Firmware has none. */
  readonly svsmEntry?: number;
}

/** The reset vector: what a CPU executes first, after which nothing follows. */
const resetVectorSize = 32;
const pageSize = 4096;

/**
 * Reads the table of GUIDed entries that ends 32 bytes before the end of an OVMF image. An image without a table has no
 * entries; the oldest SEV-ES images have the reset block alone in its place.
 * @param image the whole code volume, a multiple of 4096 bytes
 * @throws MalformedError when the table contradicts itself, leaves the image or repeats an entry
 */
export function parseFirmwareFooter(image: Uint8Array): FirmwareFooter {
  if (image.length === 0 || image.length % pageSize !== 0) {
    const expected = `a non-zero multiple of ${pageSize} bytes`;
    throw new MalformedError({
      structure: 'firmware image',
      field: 'length',
      offset: 0,
      expected,
      found: `${image.length} bytes`,
    });
  }
  const entries = readEntries(image);
  const find = (guid: Guid) => entries.find((entry) => entry.guid === guid);
  const resetAddress = readEntry(find(firmwareFooterGuids.resetBlock), resetBlock)?.address;
  const secretArea = usable(readEntry(find(firmwareFooterGuids.secretArea), area));
  const hashTableArea = usable(readEntry(find(firmwareFooterGuids.hashTableArea), area));
  const metadata = readEntry(find(firmwareFooterGuids.sevMetadata), metadataPointer);
  const svsmEntry = readEntry(find(firmwareFooterGuids.svsmInfo), svsmInfo)?.entry;
  return {
    entries: entries.map(({ guid, data }) => ({ guid, data })),
    ...(resetAddress ? { resetAddress } : {}),
    ...(secretArea === undefined ? {} : { secretArea }),
    ...(hashTableArea === undefined ? {} : { hashTableArea }),
    ...(metadata === undefined ? {} : { sevMetadata: readFirmwareMetadata(image, metadata.distance) }),
    ...(svsmEntry === undefined ? {} : { svsmEntry }),
  };
}

interface PlacedEntry extends FirmwareFooterEntry {
  /** Of the data, in the image. */
  readonly offset: number;
}

function readEntries(image: Uint8Array): PlacedEntry[] {
  const end = image.length - resetVectorSize;
  const top = entryTrailer.parseAt(image, end - entryTrailer.size);
  if (top.guid === firmwareFooterGuids.resetBlock)
    return walk(image, end - requireFits(top.length, end, end), end);
  if (top.guid !== firmwareFooterGuids.table) return [];
  return walk(image, end - requireFits(top.length, end, end), end - entryTrailer.size);
}

/** Goes from `end` down to `start`, which must be the first byte of the last entry. */
function walk(image: Uint8Array, start: number, end: number): PlacedEntry[] {
  const entries = new Map<Guid, PlacedEntry>();
  let next = end;
  while (next > start) {
    const { guid, length } = entryTrailer.parseAt(image, next - entryTrailer.size);
    requireFits(length, next - start, next);
    if (entries.has(guid)) refuse('GUID', next, 'each entry once', `${guid} a second time`);
    const offset = next - length;
    entries.set(guid, { guid, offset, data: image.slice(offset, next - entryTrailer.size) });
    next = offset;
  }
  return [...entries.values()];
}

/** @param end offset of the first byte after the entry */
function requireFits(length: number, room: number, end: number): number {
  if (length < entryTrailer.size || length > room) {
    refuse('length', end, `${entryTrailer.size} to ${room} bytes`, `${length} bytes`);
  }
  return length;
}

function refuse(field: string, end: number, expected: string, found: string): never {
  const offset = end - entryTrailer.size + (field === 'length' ? 0 : entryTrailer.offsetOf('guid'));
  throw new MalformedError({ structure: entryTrailer.name, field, offset, expected, found });
}

function readEntry<T>(
  entry: PlacedEntry | undefined,
  kind: { parse(bytes: Uint8Array, location: { offset: number }): T },
): T | undefined {
  return entry && kind.parse(entry.data, { offset: entry.offset });
}

/** OVMF builds without support for an area leave its entry zero. */
function usable({ base, size }: LaunchArea = { base: 0, size: 0 }): LaunchArea | undefined {
  return base === 0 || size === 0 ? undefined : { base, size };
}

/** Entry for {@link buildFirmwareFooter}: where application CPUs of a SEV-ES guest begin. */
export function resetBlockEntry(address: number): FirmwareFooterEntry {
  return { guid: firmwareFooterGuids.resetBlock, data: resetBlock.build({ address }) };
}

/** Entry for {@link buildFirmwareFooter}: where LAUNCH_SECRET puts the secret table. */
export function secretAreaEntry(place: LaunchArea): FirmwareFooterEntry {
  return { guid: firmwareFooterGuids.secretArea, data: area.build(place) };
}

/** Entry for {@link buildFirmwareFooter}: where the hashes table goes. */
export function hashTableAreaEntry(place: LaunchArea): FirmwareFooterEntry {
  return { guid: firmwareFooterGuids.hashTableArea, data: area.build(place) };
}

/** Entry for {@link buildFirmwareFooter}: how far before the end of the image the SEV metadata begins, in bytes. */
export function sevMetadataEntry(distance: number): FirmwareFooterEntry {
  return { guid: firmwareFooterGuids.sevMetadata, data: metadataPointer.build({ distance }) };
}

/**
 * The footer table of the given entries, the first of them highest. It goes just before the last 32 bytes of an image.
 * @throws InvalidArgumentError for a GUID given twice, or entries that do not fit in 64 KiB
 */
export function buildFirmwareFooter(entries: readonly FirmwareFooterEntry[]): Uint8Array {
  const guids = [firmwareFooterGuids.table, ...entries.map(({ guid }) => guid.toLowerCase())];
  const repeated = guids.find((guid, i) => guids.indexOf(guid) !== i);
  if (repeated !== undefined) throw new InvalidArgumentError('firmware footer', `${repeated} is given twice`);
  const blocks = entries.map(({ guid, data }) =>
    concat(data, entryTrailer.build({ guid, length: data.length + entryTrailer.size })),
  );
  const length = blocks.reduce((sum, block) => sum + block.length, entryTrailer.size);
  return concat(...blocks.toReversed(), entryTrailer.build({ guid: firmwareFooterGuids.table, length }));
}
