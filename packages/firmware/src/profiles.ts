import type { ApiVersion, Generation } from '@vouchsafe/sev';
import type { MemoryEncryptionCapabilities } from './mailbox.js';

/** What differs between processor generations: firmware version, and what CPUID 0x8000001F answers. */
export interface MachineProfile {
  readonly generation: Generation;
  readonly api: ApiVersion;
  readonly build: number;
  readonly capabilities: MemoryEncryptionCapabilities;
}

function profile(
  generation: Generation,
  [apiMajor, apiMinor, build]: readonly [number, number, number],
  cBitPosition: number,
  [minimumSevAsid, maximumAsid]: readonly [number, number],
): MachineProfile {
  const capabilities = { cBitPosition, reducedPhysBits: 5, maximumAsid, minimumSevAsid };
  return { generation, api: { apiMajor, apiMinor }, build, capabilities };
}

/** Numbers of ASIDs are the hardware's; where the range of SEV-ES ends is a choice of the BIOS. */
export const machineProfiles: Readonly<Record<Generation, MachineProfile>> = {
  naples: profile('naples', [0, 17, 48], 47, [6, 15]),
  rome: profile('rome', [0, 24, 15], 47, [100, 509]),
  milan: profile('milan', [1, 55, 24], 51, [100, 509]),
  genoa: profile('genoa', [1, 55, 37], 51, [100, 1006]),
  turin: profile('turin', [1, 58, 1], 51, [100, 1006]),
};
