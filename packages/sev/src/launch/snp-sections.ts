import { InvalidArgumentError, MalformedError } from '../errors.js';
import type { FirmwareFooter } from './firmware-footer.js';
import {
  type FirmwareMetadata,
  type FirmwareMetadataSection,
  metadataDescriptorOffset,
} from './firmware-metadata.js';
import { hashesTable } from './hashes-table.js';
import { type SnpPageRun, snpPageSize } from './snp-page-measure.js';
import type { VmmProfile } from './vmm-types.js';

/** Kinds of section by the number in the descriptor; no other is launched. */
export const snpSectionTypes = {
  MEMORY: 1,
  SECRETS: 2,
  CPUID: 3,
  SVSM_CALLING_AREA: 4,
  KERNEL_HASHES: 0x10,
} as const;
export type SnpSectionType = keyof typeof snpSectionTypes;

export interface SnpSection extends FirmwareMetadataSection {
  readonly name: SnpSectionType;
}

const names = new Map<number, SnpSectionType>(
  Object.entries(snpSectionTypes).map(([name, type]) => [type, name as SnpSectionType]),
);

/** 256 MiB: firmware asks for some dozen pages, and a length that lies must not keep us busy. */
const mostPages = 0x10000;
const fourGiB = 2 ** 32;

/**
 * The sections that firmware or an SVSM wants, checked against each other and against the memory of images.
 * @param images where images lie in guest memory
 * @throws MalformedError for an unknown kind, a section that is empty, not of whole pages, reaches beyond 4 GiB or
 * overlaps another or an image, or more than 256 MiB in all
 */
export function readSnpSections(
  metadata: FirmwareMetadata,
  images: readonly { readonly name: string; readonly gpa: number; readonly size: number }[],
): SnpSection[] {
  const sections: SnpSection[] = [];
  let pages = 0;
  for (const [index, section] of metadata.sections.entries()) {
    const refuse = (field: string, expected: string, found: string): never => {
      throw new MalformedError({
        structure: `SEV metadata descriptor ${index}`,
        field,
        offset: metadataDescriptorOffset(metadata, index),
        expected,
        found,
      });
    };
    const { gpa, size, type } = section;
    const name = names.get(type) ?? refuse('type', `one of ${[...names.keys()].join(', ')}`, String(type));
    if (gpa % snpPageSize !== 0) refuse('gpa', 'the address of a page', hex(gpa));
    if (size === 0 || size % snpPageSize !== 0) refuse('size', 'one or more whole pages', hex(size));
    if (gpa + size > fourGiB) refuse('size', 'an end below 4 GiB', hex(gpa + size));
    if ((name === 'SECRETS' || name === 'CPUID') && size !== snpPageSize)
      refuse('size', `one page for ${name}`, hex(size));
    pages += size / snpPageSize;
    if (pages > mostPages) refuse('size', `at most ${mostPages} pages in all sections`, `${pages} pages`);
    const other = [...images, ...sections].find((each) => overlap(each, section));
    if (other !== undefined)
      refuse('gpa', `memory of its own`, `memory of ${other.name} at ${hex(other.gpa)}`);
    sections.push({ gpa, size, type, name });
  }
  return sections;
}

interface Range {
  readonly gpa: number;
  readonly size: number;
}

const overlap = (a: Range, b: Range) => a.gpa < b.gpa + b.size && b.gpa < a.gpa + a.size;

/** The sections in the order in which a VMM launches them. */
export function inLaunchOrder(
  sections: readonly SnpSection[],
  { cpuidLast }: Pick<VmmProfile, 'cpuidLast'>,
): SnpSection[] {
  if (!cpuidLast) return [...sections];
  const isCpuid = ({ name }: SnpSection) => name === 'CPUID';
  return [...sections.filter((each) => !isCpuid(each)), ...sections.filter(isCpuid)];
}

/** How a section is launched. @param kernelHashes the page with the hashes table, for a measured direct boot */
export function runOfSection(
  { name, gpa, size }: SnpSection,
  { memory }: Pick<VmmProfile, 'memory'>,
  kernelHashes: Uint8Array | undefined,
): SnpPageRun {
  const pages = size / snpPageSize;
  switch (name) {
    case 'MEMORY':
      return { type: memory, gpa, pages };
    case 'SECRETS':
    case 'CPUID':
      return { type: name, gpa, pages };
    case 'SVSM_CALLING_AREA':
      return { type: 'ZERO', gpa, pages };
    case 'KERNEL_HASHES':
      return kernelHashes === undefined
        ? { type: 'ZERO', gpa, pages }
        : { type: 'NORMAL', gpa, data: kernelHashes };
  }
}

/**
 * Where the hashes table lies in its page.
 * @throws InvalidArgumentError when this firmware would not check a kernel
 */
export function placeOfHashesTable(footer: FirmwareFooter, sections: readonly SnpSection[]): number {
  const refuse = (why: string): never => {
    throw new InvalidArgumentError('kernel', why, {
      hint: 'use a firmware built for measured direct boot, such as the AmdSev build of OVMF',
    });
  };
  const page = sections.find(({ name }) => name === 'KERNEL_HASHES');
  if (page === undefined)
    return refuse('the firmware has no SNP_KERNEL_HASHES section, so it would not check the kernel');
  const area = footer.hashTableArea;
  if (area === undefined || area.size < hashesTable.size)
    return refuse('the firmware has no room for a hashes table, so it would not check the kernel');
  const place = area.base - page.gpa;
  if (page.size !== snpPageSize || place < 0 || place + hashesTable.size > page.size)
    return refuse('the firmware would look for the hashes table outside the page that is measured');
  return place;
}

/** The page of 4096 bytes that holds a hashes table and nothing else. */
export function hashesPage(table: Uint8Array, place: number): Uint8Array {
  const page = new Uint8Array(snpPageSize);
  page.set(table, place);
  return page;
}

const hex = (value: number) => `0x${value.toString(16)}`;
