import type { Secret } from '@vouchsafe/sev';
import type { ReverseMap } from './reverse-map.js';

/** What memory and cores must know of an SNP guest; the processor's guest context is one. */
export interface SnpGuest {
  /** The address space id that the guest owns; undefined while it is not active. */
  readonly asid: number | undefined;
  /** GSTATE of the firmware ABI. */
  readonly state: 'INIT' | 'LAUNCH' | 'RUNNING';
  /** The VEK, from LAUNCH_START on; zeroed when the guest is decommissioned. */
  readonly launch: { readonly memoryKey: Secret } | undefined;
  /** Set by the first VMRUN after ACTIVATE. */
  hasRun: boolean;
}

/** What SNP_INIT sets up, as memory and cores see it. */
export interface SnpPlatform {
  readonly reverseMap: ReverseMap;
  /** The guest that owns an ASID. */
  guestOf(asid: number): SnpGuest | undefined;
}
