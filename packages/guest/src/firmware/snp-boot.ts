import type { GuestView } from '@vouchsafe/firmware/guest-view';
import type { CpuidEntry, FirmwareFooter, SecretsPage } from '@vouchsafe/sev';
import { openGuestPages, readCpuid, remainingAreas, takeSecrets } from '../snp/early-boot.js';
import { type BootDevice, openBootDevice } from './boot-device.js';
import { ghcbAddress, messageAddress, requestAddress, responseAddress } from './layout.js';

/** What firmware in a SEV-SNP guest found and made before anything else ran. */
export interface SnpBoot {
  readonly device: BootDevice;
  /** Values of CPUID that the host gave and the secure processor checked. */
  readonly cpuid: readonly CpuidEntry[];
  /** The keys of guest messages, which are in the guest's memory no more. */
  readonly secrets: SecretsPage;
}

const pageSize = 0x1000;

/**
 * Makes all of memory either shared, where this firmware talks to the host, or the guest's own, and takes the keys.
 * @throws GuestMemoryError, UnavailableError, HostCallError, MalformedError when the guest must not go on
 */
export async function bootSnp(
  view: GuestView,
  { sevMetadata }: FirmwareFooter,
  imageSize: number,
): Promise<SnpBoot> {
  const sections = sevMetadata?.sections ?? [];
  const launched = [
    { base: 0x1_0000_0000 - imageSize, size: imageSize },
    ...sections.map(({ gpa, size }) => ({ base: gpa, size })),
  ];
  const pages = await openGuestPages({ view, ghcbAddress, launched });
  const messages = [messageAddress, responseAddress].map((base) => ({ base, size: pageSize }));
  for (const page of messages) await pages.share(page);
  const device = await openBootDevice(view, pages.share);

  const shared = [ghcbAddress, requestAddress].map((base) => ({ base, size: pageSize }));
  const taken = [...launched, ...messages, ...shared, device.window];
  for (const area of remainingAreas({ base: 0, size: device.memorySize }, taken)) await pages.accept(area);
  return { device, cpuid: await readCpuid(view, sections), secrets: await takeSecrets(view, sections) };
}
