import { InvalidArgumentError, snpConfigBuffer, snpPlatformStatus, vlekHashstick } from '@vouchsafe/sev';

/**
 * Manages SEV-SNP on the host's secure processor. Every method throws UnavailableError where the processor, its firmware
 * or the kernel has no SEV-SNP, and FirmwareCommandError when the processor refuses.
 */
export interface SnpPlatform {
  status(): Promise<SnpPlatformInformation>;
  /** Says for which TCB version reports are signed, and what they keep back (SNP_CONFIG). It lasts until SHUTDOWN. */
  configure(settings: SnpReportSettings): Promise<void>;
  /**
   * Commits to the firmware that runs (SNP_COMMIT): nothing older runs on this chip ever again. Reports are signed for
   * the TCB version that runs from now on, and a VLEK for another one is deleted.
   */
  commit(): Promise<void>;
  /** Loads a VLEK (SNP_VLEK_LOAD). @param hashstick 432 bytes, which AMD's key service wrapped for this chip */
  loadVlek(hashstick: Uint8Array): Promise<void>;
}

export interface SnpPlatformInformation {
  readonly apiMajor: number;
  readonly apiMinor: number;
  readonly build: number;
  readonly state: 'UNINIT' | 'INIT';
  readonly guestCount: number;
  /** 8 bytes, as the product line lays a TCB version out. */
  readonly currentTcb: Uint8Array;
  /** 8 bytes. */
  readonly reportedTcb: Uint8Array;
  readonly rmpInitialized: boolean;
  readonly aliasCheckComplete: boolean;
  readonly maskChipId: boolean;
  readonly maskChipKey: boolean;
  readonly vlekLoaded: boolean;
  readonly raplDisabled: boolean;
  readonly ciphertextHidingCapable: boolean;
  readonly ciphertextHidingEnabled: boolean;
}

export interface SnpReportSettings {
  /** 8 bytes, no component above the committed TCB version, else the processor refuses. Without it: that version. */
  readonly reportedTcb?: Uint8Array;
  /** Reports do not name the chip. */
  readonly maskChipId?: boolean;
  /** The chip's own key does not sign reports. */
  readonly maskChipKey?: boolean;
}

/** Reads the 32 bytes of SNP_PLATFORM_STATUS. @throws MalformedError for a state that the specification does not have */
export function snpPlatformInformation(status: Uint8Array): SnpPlatformInformation {
  const { apiMajor, apiMinor, build, state, guestCount, memory, features, currentTcb, reportedTcb } =
    snpPlatformStatus.parse(status);
  const { rmpInitialized, aliasCheckComplete } = memory;
  const { maskChipId, maskChipKey, vlekLoaded, raplDisabled } = features;
  const { ciphertextHidingCapable, ciphertextHidingEnabled } = features;
  return {
    apiMajor,
    apiMinor,
    build,
    state,
    guestCount,
    currentTcb,
    reportedTcb,
    rmpInitialized,
    aliasCheckComplete,
    maskChipId,
    maskChipKey,
    vlekLoaded,
    raplDisabled,
    ciphertextHidingCapable,
    ciphertextHidingEnabled,
  };
}

/** The 64 bytes of SNP_CONFIG, which the kernel passes on as they are. @throws InvalidArgumentError */
export function snpConfig({
  reportedTcb,
  maskChipId = false,
  maskChipKey = false,
}: SnpReportSettings): Uint8Array {
  return snpConfigBuffer.build({
    ...(reportedTcb === undefined ? {} : { reportedTcb }),
    flags: { maskChipId, maskChipKey },
  });
}

/** @throws InvalidArgumentError for another length */
export function requireHashstick(hashstick: Uint8Array): Uint8Array {
  if (hashstick.length === vlekHashstick.size) return hashstick;
  throw new InvalidArgumentError(
    'VLEK hashstick',
    `expected ${vlekHashstick.size} bytes, found ${hashstick.length}`,
  );
}
