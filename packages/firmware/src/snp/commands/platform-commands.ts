import {
  snpFeatureInfo,
  snpFeatureInfoBuffer,
  snpInitExBuffer,
  snpPlatformStatus,
  snpPlatformStatusBuffer,
  snpRangeListEntry,
  snpRangeListHeader,
  snpShutdownExBuffer,
  tcbAtLeast,
} from '@vouchsafe/sev';
import { commitFirmware } from '../../identity/committed-firmware.js';
import type { MemoryRange } from '../../memory/dram.js';
import { refuseUnless } from '../../processor/command-refusal.js';
import { smallPage } from '../../rmp/page-state.js';
import { isOlder } from '../firmware-version.js';
import type { SnpFirmware, SnpSessionOptions } from '../snp-firmware.js';
import type { SnpCall } from './command-handlers.js';

/** The platform commands of SEV-SNP, but for those on versions and keys. */

export async function snpInit(call: SnpCall): Promise<void> {
  await start(call, { initRmp: true, raplDisabled: false, ciphertextHiding: false, fixed: [] });
}

/** A flag that this firmware does not have is a reserved bit to it. */
export async function snpInitEx(call: SnpCall): Promise<void> {
  const { firmware, request, processor } = call;
  const { flags, listAddress, maxSnpAsid } = request.command(snpInitExBuffer);
  const { features } = firmware.profile;
  refuseUnless(!flags.raplDisabled || features.raplDisable, 'INVALID_PARAM');
  refuseUnless(!flags.ciphertextHiding || features.ciphertextHiding, 'INVALID_PARAM');
  refuseUnless(!flags.tio, 'INVALID_PARAM');
  const { minimumSevAsid } = processor.profile.capabilities;
  const isInRange = flags.ciphertextHiding
    ? maxSnpAsid >= 1 && maxSnpAsid < minimumSevAsid
    : maxSnpAsid === 0;
  refuseUnless(isInRange, 'INVALID_PARAM');
  refuseUnless(flags.initRmp || firmware.reverseMap !== undefined, 'RMP_INIT_REQUIRED');
  const fixed = flags.listEnabled ? rangesAt(call, listAddress) : [];
  if (!flags.initRmp) {
    for (const { address, length } of fixed) requireHypervisorPages(firmware, address, length);
  }
  const { initRmp, raplDisabled, ciphertextHiding } = flags;
  const largestAsid = ciphertextHiding ? maxSnpAsid : undefined;
  await start(call, { initRmp, raplDisabled, ciphertextHiding, fixed, largestAsid });
}

export async function snpShutdown({ firmware, processor }: SnpCall): Promise<void> {
  requireIdle({ firmware, processor });
  firmware.end('keep');
}

export async function snpShutdownEx({ firmware, processor, request }: SnpCall): Promise<void> {
  const { length, flags } = request.command(snpShutdownExBuffer);
  refuseUnless(length === snpShutdownExBuffer.size, 'INVALID_LENGTH');
  refuseUnless(!flags.x86 || (flags.iommu && firmware.profile.features.x86Shutdown), 'INVALID_PARAM');
  requireIdle({ firmware, processor });
  firmware.end(flags.x86 ? 'no table' : flags.iommu ? 'give back' : 'keep');
}

export async function snpPlatformStatusCommand({ firmware, processor, request }: SnpCall): Promise<void> {
  const { statusAddress } = request.command(snpPlatformStatusBuffer);
  const { profile, current: session } = firmware;
  const { api, build } = processor.profile;
  const status = snpPlatformStatus.build({
    ...api,
    build,
    state: firmware.state,
    memory: {
      rmpInitialized: firmware.reverseMap !== undefined,
      aliasCheckComplete: profile.settings.aliasCheckComplete,
      tioEnabled: false,
    },
    features: {
      maskChipId: session?.maskChipId ?? false,
      maskChipKey: session?.maskChipKey ?? false,
      vlekLoaded: session?.vlek !== undefined,
      featureInfo: true,
      raplDisabled: session?.raplDisabled ?? false,
      ciphertextHidingCapable: profile.features.ciphertextHiding,
      ciphertextHidingEnabled: session?.ciphertextHiding ?? false,
      tioEnabled: false,
    },
    guestCount: session?.guests.count ?? 0,
    currentTcb: firmware.tcbBytes(firmware.currentTcb),
    reportedTcb: firmware.tcbBytes(session?.reportedTcb ?? firmware.committed.tcb),
  });
  request.placeResult(statusAddress, status);
}

export async function snpFeatureInfoCommand({ firmware, request }: SnpCall): Promise<void> {
  const { length, ecxIn, resultAddress } = request.command(snpFeatureInfoBuffer);
  refuseUnless(length === snpFeatureInfoBuffer.size, 'INVALID_LENGTH');
  refuseUnless(ecxIn === 0, 'INVALID_PARAM');
  const { x86Shutdown, raplDisable, ciphertextHiding, aes256XtsPolicy, cxlPolicy } =
    firmware.profile.features;
  const result = snpFeatureInfo.build({
    ebx: { tio: false },
    ecx: {
      x86Shutdown,
      raplDisable,
      ciphertextHiding,
      aes256Xts: aes256XtsPolicy,
      cxl: cxlPolicy,
      verifyMitigation: false,
    },
  });
  request.placeResult(resultAddress, result);
}

export async function snpDfFlush({ processor }: SnpCall): Promise<void> {
  processor.caches.flush();
}

/**
 * INIT's work. A chip runs no firmware older than what it has committed: BAD_SVN where a component of the TCB version is
 * lower, BAD_VERSION where only the version is. On a new chip, the firmware that initialises it first is committed.
 */
async function start(
  { firmware, processor }: SnpCall,
  options: Omit<SnpSessionOptions, 'largestAsid'> & { readonly largestAsid?: number | undefined },
): Promise<void> {
  const { currentTcb, version, committed, committedRecord } = firmware;
  refuseUnless(tcbAtLeast(currentTcb, committed.tcb).ok, 'BAD_SVN');
  refuseUnless(!isOlder(version, committed.version), 'BAD_VERSION');
  if (committedRecord === undefined) {
    await commitFirmware(processor.chip, { tcb: firmware.tcbBytes(currentTcb), version });
  }
  const largestAsid = options.largestAsid ?? processor.profile.capabilities.minimumSevAsid - 1;
  firmware.begin({ ...options, largestAsid });
}

/** No guest may be active, and none may have been since the last flush. */
function requireIdle({ firmware, processor }: Pick<SnpCall, 'firmware' | 'processor'>): void {
  refuseUnless(firmware.session.asids.count === 0, 'ACTIVE');
  refuseUnless(!processor.caches.mayHoldGuestData, 'DF_FLUSH_REQUIRED');
}

/** The list lies in one page, so it has 255 entries at most. */
function rangesAt({ request }: SnpCall, listAddress: bigint): MemoryRange[] {
  const header = request.structureAt(listAddress, snpRangeListHeader);
  const { size } = snpRangeListEntry;
  refuseUnless(header.count <= (smallPage - snpRangeListHeader.size) / size, 'INVALID_PARAM');
  return Array.from({ length: header.count }, (_, i) => {
    const at = listAddress + BigInt(snpRangeListHeader.size + i * size);
    const { base, pageCount } = request.structureAt(at, snpRangeListEntry);
    refuseUnless(base % BigInt(smallPage) === 0n, 'INVALID_ADDRESS');
    return request.range(base, pageCount * smallPage);
  });
}

function requireHypervisorPages({ reverseMap }: SnpFirmware, address: number, length: number): void {
  for (let at = address; at < address + length; at += smallPage) {
    const isFree = reverseMap?.state(at) === 'Hypervisor' || reverseMap?.state(at) === 'HV-Fixed';
    refuseUnless(isFree, 'INVALID_PAGE_STATE');
  }
}
