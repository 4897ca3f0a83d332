import { concat, u32le } from '../bytes.js';
import {
  buildFirmwareFooter,
  type FirmwareFooterEntry,
  firmwareFooterGuids,
  hashTableAreaEntry,
  resetBlockEntry,
} from '../launch/firmware-footer.js';

/** gpa, size, type */
export type TestSection = readonly [gpa: number, size: number, type: number];

/** The sections of OVMF's AmdSev build. */
export const usualSections: readonly TestSection[] = [
  [0x800000, 0x9000, 1],
  [0x80a000, 0x3000, 1],
  [0x80d000, 0x1000, 2],
  [0x80e000, 0x1000, 3],
  [0x80f000, 0x1000, 4],
  [0x810000, 0x1000, 0x10],
  [0x811000, 0xf000, 1],
];

export interface TestImage {
  readonly sections?: readonly TestSection[];
  /** Instead of the number of sections. */
  readonly count?: number;
  readonly entries?: readonly FirmwareFooterEntry[];
  readonly pages?: number;
  /** What the rest of the image is filled with. */
  readonly fill?: number;
}

/** A firmware image of the given metadata, with a reset block and room for a hashes table. */
export function snpImage(image: TestImage = {}): Uint8Array {
  const { sections = usualSections, count = sections.length, pages = 1, fill = 0x90 } = image;
  const descriptors = sections.flat().map(u32le);
  const size = 16 + 12 * count;
  const header = [new TextEncoder().encode('ASEV'), ...[size >>> 0, 1, count >>> 0].map(u32le)];
  const metadata = concat(...header, ...descriptors);
  const entries = (distance: number) => [
    { guid: firmwareFooterGuids.sevMetadata, data: u32le(distance) },
    ...(image.entries ?? [resetBlockEntry(0x80b004), hashTableAreaEntry({ base: 0x810c00, size: 0x400 })]),
  ];
  const tail = 32 + buildFirmwareFooter(entries(0)).length + metadata.length;
  return concat(
    new Uint8Array(pages * 4096 - tail).fill(fill),
    metadata,
    buildFirmwareFooter(entries(tail)),
    new Uint8Array(32),
  );
}
