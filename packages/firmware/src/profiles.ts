import type { ApiVersion, Generation, ProcessorModel, ProductLine, TcbVersion } from '@vouchsafe/sev';
import type { MemoryEncryptionCapabilities } from './mailbox.js';

/** What differs between processor generations: firmware version, and what CPUID 0x8000001F answers. */
export interface MachineProfile {
  readonly generation: Generation;
  readonly api: ApiVersion;
  readonly build: number;
  readonly capabilities: MemoryEncryptionCapabilities;
  /** Absent where the processor has no SEV-SNP. */
  readonly snp?: SnpProfile;
}

/** The SEV-SNP side of a processor, its firmware and the BIOS settings that guests are told of. */
export interface SnpProfile {
  readonly line: ProductLine;
  readonly processor: ProcessorModel;
  /** Of the firmware that runs. Older than what the chip has committed, it does not initialise. */
  readonly currentTcb: TcbVersion;
  /** Format of the attestation reports that it writes. */
  readonly reportVersion: 2 | 3 | 5;
  /** Mitigations that are verified, one bit each; reports have them since version 5. */
  readonly mitigationVector: bigint;
  /** FEATURE_INFO: what INIT_EX and guest policies may ask for. */
  readonly features: SnpFeatures;
  readonly settings: SnpSettings;
  /** Nominal frequency of the time stamp counter. */
  readonly tscKhz: number;
  /** How far its mean frequency lies below that, in 1/100000. */
  readonly tscFactor: number;
}

export interface SnpFeatures {
  /** SHUTDOWN_EX can switch SEV-SNP off in the cores, so that the reverse map table is gone. */
  readonly x86Shutdown: boolean;
  readonly raplDisable: boolean;
  readonly ciphertextHiding: boolean;
  /** Guest policies may ask for AES-256-XTS. */
  readonly aes256XtsPolicy: boolean;
  /** Guest policies may allow or forbid CXL. */
  readonly cxlPolicy: boolean;
}

/** How the BIOS has set the machine up. */
export interface SnpSettings {
  readonly smt: boolean;
  readonly tsme: boolean;
  readonly ecc: boolean;
  /** CXL devices or memory are populated. */
  readonly cxl: boolean;
  readonly aes256Xts: boolean;
  /** No two addresses name the same memory. */
  readonly aliasCheckComplete: boolean;
}

function profile(
  generation: Generation,
  [apiMajor, apiMinor, build]: readonly [number, number, number],
  cBitPosition: number,
  [minimumSevAsid, maximumAsid]: readonly [number, number],
  snp?: SnpProfile,
): MachineProfile {
  const capabilities = { cBitPosition, reducedPhysBits: 5, maximumAsid, minimumSevAsid };
  const base = { generation, api: { apiMajor, apiMinor }, build, capabilities };
  return snp === undefined ? base : { ...base, snp };
}

const settings: SnpSettings = {
  smt: true,
  tsme: false,
  ecc: true,
  cxl: false,
  aes256Xts: false,
  aliasCheckComplete: true,
};

const milan: SnpProfile = {
  line: 'Milan',
  processor: { family: 0x19, model: 0x01, stepping: 1 },
  currentTcb: { bootloader: 4, tee: 0, snp: 24, microcode: 219 },
  reportVersion: 3,
  mitigationVector: 0n,
  features: {
    x86Shutdown: true,
    raplDisable: false,
    ciphertextHiding: false,
    aes256XtsPolicy: false,
    cxlPolicy: false,
  },
  settings,
  tscKhz: 2_450_000,
  tscFactor: 200,
};

const genoa: SnpProfile = {
  ...milan,
  line: 'Genoa',
  processor: { family: 0x19, model: 0x11, stepping: 1 },
  currentTcb: { bootloader: 10, tee: 0, snp: 24, microcode: 84 },
  features: { ...milan.features, raplDisable: true, aes256XtsPolicy: true, cxlPolicy: true },
  settings: { ...settings, aes256Xts: true },
  tscKhz: 2_400_000,
};

const turin: SnpProfile = {
  ...genoa,
  line: 'Turin',
  processor: { family: 0x1a, model: 0x02, stepping: 1 },
  currentTcb: { fmc: 1, bootloader: 1, tee: 1, snp: 4, microcode: 82 },
  reportVersion: 5,
  mitigationVector: 0x0fn,
  features: { ...genoa.features, ciphertextHiding: true },
  tscKhz: 2_600_000,
};

/** Numbers of ASIDs are the hardware's; where the range of SEV-ES ends is a choice of the BIOS. */
export const machineProfiles: Readonly<Record<Generation, MachineProfile>> = {
  naples: profile('naples', [0, 17, 48], 47, [6, 15]),
  rome: profile('rome', [0, 24, 15], 47, [100, 509]),
  milan: profile('milan', [1, 55, 24], 51, [100, 509], milan),
  genoa: profile('genoa', [1, 55, 37], 51, [100, 1006], genoa),
  turin: profile('turin', [1, 58, 1], 51, [100, 1006], turin),
};
