import type { GuestView } from '@vouchsafe/firmware/guest-view';
import {
  type CpuidEntry,
  type FirmwareMetadataSection,
  ghcbMsrCode,
  ghcbMsrCodes,
  ghcbMsrFeatures,
  ghcbMsrPageStateRequest,
  ghcbMsrPageStateResponse,
  ghcbMsrRegistration,
  ghcbMsrRequest,
  ghcbMsrSevInformation,
  type LaunchArea,
  pageStateOperations,
  parseCpuidPage,
  type SecretsPage,
  type SnpSectionType,
  secretsPage,
  snpSectionTypes,
  takeSecretsPage,
  UnavailableError,
} from '@vouchsafe/sev';
import { GuestMemoryError, type GuestPages, guestPages } from './guest-pages.js';

/**
 * What firmware does first in a SEV-SNP guest: it agrees with the hypervisor how to talk, makes memory its own, and takes
 * the keys that the secure processor left for it. Nothing that the host says is believed further than it can be checked.
 */

export interface EarlyBootOptions {
  readonly view: GuestView;
  /** The image and the sections of its metadata: what the launch put into the guest. */
  readonly launched: readonly LaunchArea[];
  readonly ghcbAddress: number;
}

const protocolVersion = 2;
const pageSize = 0x1000;

/**
 * Agrees on the GHCB: protocol version 2, a page that is shared and registered.
 * @throws UnavailableError when the hypervisor does not offer what a SEV-SNP guest needs
 * @throws GuestMemoryError when it does not share the page
 */
export async function openGuestPages(options: EarlyBootOptions): Promise<GuestPages> {
  const { view, ghcbAddress } = options;
  await requireProtocol(view);
  await shareByMsr(view, ghcbAddress);
  await register(view, ghcbAddress);
  return guestPages(options);
}

async function requireProtocol(view: GuestView): Promise<void> {
  const information = await ask(view, ghcbMsrCodes.SEV_INFORMATION_REQUEST);
  requireCode(information, ghcbMsrCodes.SEV_INFORMATION);
  const { leastVersion, mostVersion } = ghcbMsrSevInformation.parse(information);
  if (leastVersion > protocolVersion || mostVersion < protocolVersion) {
    throw lacking(`GHCB protocol ${protocolVersion}; it speaks ${leastVersion} to ${mostVersion}`);
  }
  const features = await ask(view, ghcbMsrCodes.FEATURES_REQUEST);
  requireCode(features, ghcbMsrCodes.FEATURES_RESPONSE);
  if (!ghcbMsrFeatures.parse(features).snp) throw lacking('SEV-SNP');
}

const ask = (view: GuestView, code: number) => view.msrProtocol(ghcbMsrRequest.build({ code }));

function requireCode(answer: bigint, expected: number): void {
  if (ghcbMsrCode(answer) !== expected) {
    throw lacking(`an answer of kind 0x${expected.toString(16)}; it gave 0x${answer.toString(16)}`);
  }
}

const lacking = (what: string) =>
  new UnavailableError('hypervisor', `it does not offer ${what}`, {
    hint: 'SEV-SNP guests need a hypervisor with protocol 2 of the GHCB: Linux 6.11 or later',
  });

/** The first page must be shared without a page to say so in. */
async function shareByMsr(view: GuestView, address: number): Promise<void> {
  const request = ghcbMsrPageStateRequest.build({
    code: ghcbMsrCodes.PAGE_STATE_REQUEST,
    frame: address / pageSize,
    operation: pageStateOperations.SHARED,
  });
  const answer = await view.msrProtocol(request);
  requireCode(answer, ghcbMsrCodes.PAGE_STATE_RESPONSE);
  const { error } = ghcbMsrPageStateResponse.parse(answer);
  if (error !== 0) throw new GuestMemoryError('not-changed', address, `the host did not share it (${error})`);
}

async function register(view: GuestView, address: number): Promise<void> {
  const frame = address / pageSize;
  const request = ghcbMsrRegistration.build({ code: ghcbMsrCodes.REGISTER_REQUEST, frame });
  const answer = await view.msrProtocol(request);
  requireCode(answer, ghcbMsrCodes.REGISTER_RESPONSE);
  if (ghcbMsrRegistration.parse(answer).frame !== frame) throw lacking('the GHCB page that the guest chose');
}

/** Ranges of memory that are in no other: what is left for the guest to accept. */
export function remainingAreas(memory: LaunchArea, taken: readonly LaunchArea[]): LaunchArea[] {
  const areas: LaunchArea[] = [];
  let from = memory.base;
  for (const { base, size } of taken.toSorted((a, b) => a.base - b.base)) {
    if (base >= memory.base + memory.size) break;
    if (base > from) areas.push({ base: from, size: base - from });
    from = Math.max(from, base + size);
  }
  const end = memory.base + memory.size;
  return from < end ? [...areas, { base: from, size: end - from }] : areas;
}

/** Guest memory of a section of the metadata. @throws UnavailableError when the firmware has no such section */
function sectionOf(sections: readonly FirmwareMetadataSection[], name: SnpSectionType): LaunchArea {
  const section = sections.find(({ type }) => type === snpSectionTypes[name]);
  if (section !== undefined) return { base: section.gpa, size: section.size };
  throw new UnavailableError('firmware', `its SEV metadata has no section ${name}`, {
    hint: 'boot a firmware that was built for SEV-SNP',
  });
}

/**
 * The keys that the secure processor left for this guest. They are in the guest's memory no more afterwards: whoever
 * reads the page again finds nothing.
 */
export async function takeSecrets(
  view: GuestView,
  sections: readonly FirmwareMetadataSection[],
): Promise<SecretsPage> {
  const { base } = sectionOf(sections, 'SECRETS');
  const secrets = takeSecretsPage(await view.readPrivate(base, secretsPage.size));
  await view.writePrivate(base, new Uint8Array(secretsPage.size));
  return secrets;
}

/** What the secure processor checked of the host's CPUID values. @throws MalformedError */
export async function readCpuid(
  view: GuestView,
  sections: readonly FirmwareMetadataSection[],
): Promise<readonly CpuidEntry[]> {
  const { base } = sectionOf(sections, 'CPUID');
  return parseCpuidPage(await view.readPrivate(base, pageSize));
}
