import {
  buildCpuidPage,
  cpuidSignature,
  extendSnpDigest,
  openSecret,
  parseCpuidPage,
  type SnpPageRun,
  type SnpPageType,
  secretsPage,
  snpPageInfo,
  snpPageLinks,
  snpPageSize,
} from '@vouchsafe/sev';
import type { VmplPermissions } from '../../rmp/page-state.js';
import { acceptableCpuid } from '../cpuid-policy.js';
import type { SnpLaunch } from '../guest-contexts.js';
import type { SnpFirmware } from '../snp-firmware.js';
import { parsedOrRefused } from '../snp-request.js';

/** What LAUNCH_UPDATE makes of a page by its type, and what of it is measured. */

/** `corrected`: a CPUID page that promises more than the processor has, as it would be acceptable. */
export interface LaunchedContents {
  readonly bytes: Uint8Array;
  readonly corrected?: Uint8Array;
}

/** @param given the page as the host wrote it */
export function launchedContents(
  type: SnpPageType,
  given: Uint8Array,
  guest: { readonly launch: SnpLaunch; readonly firmware: SnpFirmware },
): LaunchedContents {
  if (type === 'ZERO') return { bytes: given.fill(0) };
  if (type === 'SECRETS') return { bytes: secretsPageOf(guest) };
  return type === 'CPUID' ? cpuidContents(given, guest.firmware) : { bytes: given };
}

function cpuidContents(given: Uint8Array, { profile }: SnpFirmware): LaunchedContents {
  const entries = parsedOrRefused(() => parseCpuidPage(given));
  const acceptable = entries.map((entry) => acceptableCpuid(entry, profile.line));
  const isAcceptable = acceptable.every((entry, i) => entry === entries[i]);
  return isAcceptable ? { bytes: given } : { bytes: given, corrected: buildCpuidPage(acceptable) };
}

function secretsPageOf({
  launch,
  firmware,
}: {
  readonly launch: SnpLaunch;
  readonly firmware: SnpFirmware;
}): Uint8Array {
  const { profile } = firmware;
  const key = (vmpl: number) => openSecret(launch.messageKeys[vmpl]!);
  const page = {
    version: 2,
    flags: { initialMigrationImage: launch.isMigrationImage },
    fms: cpuidSignature(profile.processor),
    gosvw: launch.workarounds,
    vmpck0: key(0),
    vmpck1: key(1),
    vmpck2: key(2),
    vmpck3: key(3),
  };
  if (profile.reportVersion < 5) return secretsPage.build(page);
  const { tscFactor, mitigationVector: launchMitigationVector } = profile;
  return secretsPage.build({ ...page, version: 3, tscFactor, launchMitigationVector });
}

export interface MeasuredPage {
  readonly type: SnpPageType;
  /** 4 KiB or 2 MiB; a page of 2 MiB is measured as 512 of 4 KiB. */
  readonly contents: Uint8Array;
  readonly gpa: number;
  readonly imiPage: boolean;
  readonly permissions: VmplPermissions;
}

/** The digest after one page more. */
export async function extendDigest(digest: Uint8Array, page: MeasuredPage): Promise<Uint8Array> {
  const { type, contents, gpa, imiPage, permissions } = page;
  const run: SnpPageRun =
    type === 'NORMAL' || type === 'VMSA'
      ? { type, gpa, data: contents }
      : { type, gpa, pages: contents.length / snpPageSize };
  const links = await snpPageLinks(run);
  const linkSize = snpPageInfo.size - digest.length;
  const offsetOf = (field: 'imiPage' | 'vmpl1Permissions') => snpPageInfo.offsetOf(field) - digest.length;
  for (let link = 0; link < links.length; link += linkSize) {
    links[link + offsetOf('imiPage')] = Number(imiPage);
    links.set(permissions.slice(1), link + offsetOf('vmpl1Permissions'));
  }
  return extendSnpDigest(digest, links);
}
