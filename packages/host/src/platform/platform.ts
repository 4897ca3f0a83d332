import type { SnpPlatform } from './snp-platform.js';

/** Manages the host's secure processor: what /dev/sev offers, on a real host or over the software machine. */
export interface Platform {
  readonly backend: 'linux' | 'software';
  status(): Promise<PlatformInformation>;
  /** The 64 bytes of GET_ID, which AMD's key service knows the chip by. */
  chipId(): Promise<Uint8Array>;
  /** PDH (0x824 bytes) and PEK‖OCA‖CEK (0x186C bytes); the CEK in it carries no signature of AMD's. */
  export(): Promise<{ readonly pdh: Uint8Array; readonly chain: Uint8Array }>;
  /** The PEK without signatures, for the owner to sign (PEK_CSR). */
  signingRequest(): Promise<Uint8Array>;
  /** Takes external ownership (PEK_CERT_IMPORT): the PEK signed by the owner's CA, and that CA's certificate. */
  provision(ownership: { readonly pek: Uint8Array; readonly oca: Uint8Array }): Promise<void>;
  /** New PDH (PDH_GEN). */
  rotate(): Promise<void>;
  /** New OCA, PEK and PDH, self-owned (PEK_GEN). */
  regenerate(): Promise<void>;
  /** Factory reset (PLATFORM_RESET): new identity, self-owned. */
  reset(): Promise<void>;
  readonly snp: SnpPlatform;
}

export interface PlatformInformation {
  readonly apiMajor: number;
  readonly apiMinor: number;
  readonly build: number;
  readonly state: 'UNINIT' | 'INIT' | 'WORKING';
  readonly externallyOwned: boolean;
  readonly encryptedState: boolean;
  readonly guestCount: number;
}
