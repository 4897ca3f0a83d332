import {
  buildFirmwareFooter,
  buildFirmwareMetadata,
  hashTableAreaEntry,
  resetBlockEntry,
  secretAreaEntry,
  sevMetadataEntry,
} from '@vouchsafe/sev';
import { guestFirmwareBase, guestFirmwareSize, hashTableArea, secretArea, snpSections } from './layout.js';

const identification = 'Vouchsafe guest firmware 1: stops every CPU that executes it\0';

/** `cli; hlt; jmp` back to the `hlt`: valid in 16-bit real mode, which CPUs begin in. */
const haltLoop = Uint8Array.of(0xfa, 0xf4, 0xeb, 0xfd);

const resetVectorDistance = 16;
const footerDistance = 32;
/** Where the SEV metadata begins, before the end of the image; the footer, above it, is much shorter than this. */
const metadataDistance = 0x400;
/** Of application CPUs, which SEV-ES starts at the address in the reset block. */
const applicationEntry = 0x1000;

/**
 * The project's own firmware image, 64 KiB, the same bytes at every call. On a real CPU it halts at the reset vector:
 * it has no drivers, and is no firmware for real machines. In the software machine, whose CPU runs programs and no
 * machine code, `guestFirmwareProgram` is what it does. Its footer is that of a measured-boot OVMF: reset block, secret
 * area, hash-table area, and the metadata by which SEV-SNP prepares its secrets, CPUID and kernel-hashes pages.
 */
export function buildGuestFirmware(): Uint8Array {
  const image = new Uint8Array(guestFirmwareSize);
  const footer = buildFirmwareFooter([
    resetBlockEntry(guestFirmwareBase + applicationEntry),
    secretAreaEntry(secretArea),
    hashTableAreaEntry(hashTableArea),
    sevMetadataEntry(metadataDistance),
  ]);
  const footerStart = guestFirmwareSize - footerDistance - footer.length;
  const metadataStart = guestFirmwareSize - metadataDistance;
  image.fill(haltLoop[1]!, 0x2000, metadataStart);
  image.set(new TextEncoder().encode(identification));
  image.set(haltLoop, applicationEntry);
  image.set(buildFirmwareMetadata(snpSections), metadataStart);
  image.set(footer, footerStart);
  image.set(haltLoop, guestFirmwareSize - resetVectorDistance);
  return image;
}
