/**
 * Boots a confidential machine and carries what its owner and the secure processor say to each other. Two backends:
 * the software machine, and QEMU over QMP. One conformance suite runs over both; nothing above knows which it has.
 */

/** What the hypervisor is asked to launch. Every part of it is chosen by the host, so none of it is trusted. */
export interface LaunchConfiguration {
  readonly mode: 'sev' | 'sev-es';
  /** Guest policy word, as the owner gave it. */
  readonly policy: number;
  /** The owner's Diffie-Hellman certificate, 0x824 bytes, and the session buffer, 0x80 bytes: both or neither. */
  readonly channel?: { readonly godhCertificate: Uint8Array; readonly session: Uint8Array };
  readonly firmware: Uint8Array;
  /** Measured direct boot; without it nothing of the kernel is measured. */
  readonly directBoot?: { readonly kernel: Uint8Array; readonly initrd?: Uint8Array; readonly commandLine?: string };
  readonly vcpus: number;
  /** CPUID 1 EAX of the guest's CPU model. */
  readonly vcpuSignature: number;
}

/** What QMP's query-sev tells, by the names of its members. */
export interface SevInformation {
  readonly apiMajor: number;
  readonly apiMinor: number;
  readonly buildId: number;
  readonly policy: number;
  readonly state: 'uninit' | 'launch-update' | 'launch-secret' | 'running' | 'send-update' | 'receive-update';
  readonly handle: number;
}

export interface Launcher {
  readonly backend: 'software' | 'qemu';
  /** Gives a machine that is loaded and measured, and not yet running. */
  launch(configuration: LaunchConfiguration): Promise<ConfidentialMachine>;
}

export interface ConfidentialMachine {
  information(): Promise<SevInformation>;
  /** Measurement (32 bytes) followed by the firmware's nonce (16 bytes). */
  launchMeasurement(): Promise<Uint8Array>;
  /** Injects a secret packet; `guestAddress` defaults to the secret area of the firmware image's footer. */
  injectSecret(packet: { header: Uint8Array; payload: Uint8Array; guestAddress?: number }): Promise<void>;
  /** ATTESTATION report (0xD0 bytes) over the caller's 16-byte nonce. */
  attestationReport(mnonce: Uint8Array): Promise<Uint8Array>;
  /** LAUNCH_FINISH at the first call; lets the guest run. */
  resume(): Promise<void>;
  pause(): Promise<void>;
  quit(): Promise<void>;
}
