import { type FirmwareMetadataSection, snpSectionTypes } from '@vouchsafe/sev';

/**
 * Where the project's small guest firmware keeps things: in the first 64 KiB of guest memory, and at the end of the
 * first 4 GiB for the image itself. The secret area, the hash-table area and the sections of SEV-SNP are announced in
 * the image's footer; no reader takes them from here.
 */
export const guestFirmwareSize = 0x1_0000;
export const guestFirmwareBase = 0x1_0000_0000 - guestFirmwareSize;

/** As large as the largest secret packet. */
export const secretArea = { base: 0x8000, size: 0x4000 } as const;
export const hashTableArea = { base: 0xc000, size: 0x400 } as const;

/** What SEV-SNP has to prepare besides the image: memory that is the guest's own before its first instruction. */
export const snpSections: readonly FirmwareMetadataSection[] = [
  { gpa: 0x0000, size: 0x5000, type: snpSectionTypes.MEMORY },
  { gpa: 0x5000, size: 0x1000, type: snpSectionTypes.SECRETS },
  { gpa: 0x6000, size: 0x1000, type: snpSectionTypes.CPUID },
  { gpa: secretArea.base, size: secretArea.size, type: snpSectionTypes.MEMORY },
  { gpa: hashTableArea.base, size: 0x1000, type: snpSectionTypes.KERNEL_HASHES },
];

/** Shared with the host: answers to guest messages of SEV-SNP. */
export const responseAddress = 0x7000;
/** Shared with the host: the GHCB page of SEV-ES, and the page of requests to the boot device. */
export const ghcbAddress = 0xd000;
export const requestAddress = 0xe000;
/** Shared with the host: guest messages of SEV-SNP to the firmware. */
export const messageAddress = 0xf000;
/** Shared with the host from here to the end of memory, or as much as one request takes: what the device copies. */
export const transferAddress = 0x1_0000;
