import type { GuestView } from '@vouchsafe/firmware/guest-view';
import type { CpuidEntry, FirmwareFooter, LaunchArea, Secret } from '@vouchsafe/sev';
import type { AttestationDevice } from '../attestation/attestation-device.js';
import { type StartVcpuOptions, startVcpu } from '../snp/ap-creation.js';
import { channelAttestationDevice } from '../snp/channel-device.js';
import { openGuestPages, readCpuid, remainingAreas, takeSecrets } from '../snp/early-boot.js';
import { type GuestChannel, type GuestRequestTransport, openGuestChannel } from '../snp/guest-channel.js';
import { ghcbGuestRequests } from '../snp/guest-requests.js';
import { type BootDevice, openBootDevice } from './boot-device.js';
import { ghcbAddress, messageAddress, requestAddress, responseAddress } from './layout.js';

/** What firmware in a SEV-SNP guest found and made before anything else ran. */
export interface SnpBoot {
  readonly device: BootDevice;
  readonly attestation: AttestationDevice;
  readonly services: SnpServices;
}

/** What firmware hands over to a SEV-SNP guest besides its attestation device. */
export interface SnpServices {
  /** Values of CPUID that the host gave and the secure processor checked. */
  readonly cpuid: readonly CpuidEntry[];
  /** Guest messages under the key of privilege level 0, for what the attestation device does not ask. */
  readonly channel: GuestChannel;
  /** Where guest messages go; the host carries them. */
  readonly transport: GuestRequestTransport;
  /** Keys of guest messages of privilege levels 1, 2 and 3, for the code that will run there. */
  readonly lowerKeys: readonly [Secret, Secret, Secret];
  /** Starts another vCPU, or a lower privilege level of one. */
  startVcpu(options: StartVcpuOptions): Promise<void>;
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

  const { vmpcks, sequences } = await takeSecrets(view, sections);
  const [key, ...lowerKeys] = vmpcks;
  const transport = ghcbGuestRequests(view, {
    ghcb: ghcbAddress,
    request: messageAddress,
    response: responseAddress,
    certificates: certificatePages(device.window),
  });
  const channel = openGuestChannel({ transport, key, vmpck: 0, sequence: sequences[0] });
  const cpuid = await readCpuid(view, sections);
  return {
    device,
    attestation: channelAttestationDevice(channel),
    services: {
      cpuid,
      channel,
      transport,
      lowerKeys,
      startVcpu: (options) => startVcpu(view, ghcbAddress, options),
    },
  };
}

/** Behind the page that lines for the console are put into, as much as Linux makes room for. */
function certificatePages({ base, size }: LaunchArea) {
  return { address: base + pageSize, pages: Math.min(4, size / pageSize - 1) };
}
