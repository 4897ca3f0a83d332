import type { VmsaFpu } from '@vouchsafe/sev';

/**
 * Boots a confidential machine and carries what its owner and the secure processor say to each other. Two backends:
 * the software machine, and QEMU over QMP. One conformance suite runs over both; nothing above knows which it has.
 */

/** What all launches have in common. Every part of it is chosen by the host, so none of it is trusted. */
export interface CommonLaunchConfiguration {
  /** A multiple of 4096 bytes; it is mapped so that its last byte is at guest address 0xFFFFFFFF. */
  readonly firmware: Uint8Array;
  /** Measured direct boot; without it nothing of the kernel is measured. */
  readonly directBoot?: {
    readonly kernel: Uint8Array;
    readonly initrd?: Uint8Array;
    readonly commandLine?: string;
  };
  readonly vcpus: number;
  /** CPUID 1 EAX of the guest's CPU model. */
  readonly vcpuSignature: number;
  /** Software machine: the FPU's part of the first VMSAs, which KVM's versions differ in. Default: `set`. */
  readonly vmsaFpu?: VmsaFpu;
  /** Bytes of memory from guest address 0, a multiple of 4096. Default: 32 MiB, under QEMU 2 GiB. */
  readonly memory?: number;
}

/** A launch of SEV or SEV-ES, whose owner and the secure processor talk before the guest runs. */
export interface LaunchConfiguration extends CommonLaunchConfiguration {
  /** Must say what bit 2 (ES) of the policy says. */
  readonly mode: 'sev' | 'sev-es';
  /** Guest policy word, as the owner gave it. */
  readonly policy: number;
  /** The owner's Diffie-Hellman certificate, 0x824 bytes, and the session buffer, 0x80 bytes: both or neither. */
  readonly channel?: { readonly godhCertificate: Uint8Array; readonly session: Uint8Array };
}

/** A launch of SEV-SNP, whose owner says beforehand what the guest must be, and talks to the guest afterwards. */
export interface SnpLaunchConfiguration extends CommonLaunchConfiguration {
  readonly mode: 'snp';
  /** Guest policy, 64 bits. */
  readonly policy: bigint;
  /** SEV_FEATURES of every vCPU. Default: 1, SNPActive alone. */
  readonly guestFeatures?: bigint;
  /** What the owner signed: ID block, 96 bytes, and ID authentication information, 4096 bytes. */
  readonly idBlock?: { readonly block: Uint8Array; readonly authentication: Uint8Array };
  /** 32 bytes that reports carry; zero without them. */
  readonly hostData?: Uint8Array;
  /** Reports are signed by the VLEK or not at all. */
  readonly vcekDisabled?: boolean;
  /** What the hypervisor says of workarounds that the guest should use, 16 bytes; zero without them. */
  readonly guestVisibleWorkarounds?: Uint8Array;
  /** Software machine: the table of certificates that extended requests are answered with. */
  readonly certificateTable?: Uint8Array;
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

/** `prelaunch`: measured, and never run yet. `shutdown`: the guest gave up or was stopped for good. */
export type RunState = 'prelaunch' | 'running' | 'paused' | 'shutdown';

export type MachineEvent =
  | { readonly type: 'resumed' }
  | { readonly type: 'paused' }
  /** The guest printed a line on the console. Software machine only. */
  | { readonly type: 'console'; readonly line: string }
  /** The guest says that it has booted. Software machine only. */
  | { readonly type: 'booted' }
  /** `shutdown`: the guest's own doing. `fault`: the processor could not run it. `quit`: the host's. */
  | { readonly type: 'ended'; readonly reason: 'shutdown' | 'fault' | 'quit'; readonly detail?: string };

/** What QMP's query-sev tells of a SEV-SNP guest. */
export interface SnpInformation {
  readonly apiMajor: number;
  readonly apiMinor: number;
  readonly buildId: number;
  readonly policy: bigint;
  readonly state: 'uninit' | 'launch-update' | 'running';
}

export interface Launcher {
  readonly backend: 'software' | 'qemu';
  /**
   * Gives a machine that is loaded and measured, and not yet running.
   * @throws FirmwareCommandError when the secure processor refuses a step of the launch
   * @throws InvalidArgumentError for a configuration that contradicts itself
   * @throws UnavailableError when something is missing that a launch needs
   */
  launch(configuration: LaunchConfiguration): Promise<ConfidentialMachine>;
}

export interface SnpLauncher {
  readonly backend: 'software' | 'qemu';
  /** Gives a machine that is loaded and not yet running. @throws as `Launcher.launch` does */
  launchSnp(configuration: SnpLaunchConfiguration): Promise<SnpMachine>;
}

/** Every method but `status` and `quit` throws UnavailableError once the machine has been quit. */
export interface VirtualMachine {
  status(): Promise<RunState>;
  /**
   * Lets the guest run. The first call ends the launch: LAUNCH_FINISH.
   * @throws FirmwareCommandError when the secure processor does not let the guest run: with SEV-SNP, when it is not the
   * guest of its ID block
   */
  resume(): Promise<void>;
  /** Resolves when the guest has stopped. */
  pause(): Promise<void>;
  /** Stops the guest for good and gives back everything it had. May be called more than once. */
  quit(): Promise<void>;
  /** Calls `listener` with each event from now on. @returns a function that ends it */
  onEvent(listener: (event: MachineEvent) => void): () => void;
}

/** A guest of SEV or SEV-ES. */
export interface ConfidentialMachine extends VirtualMachine {
  information(): Promise<SevInformation>;
  /** Measurement (32 bytes) followed by the firmware's nonce (16 bytes). */
  launchMeasurement(): Promise<Uint8Array>;
  /**
   * Injects a secret packet; `guestAddress` defaults to the secret area of the firmware image's footer.
   * @throws FirmwareCommandError when the processor refuses the packet, or the launch is over
   */
  injectSecret(packet: { header: Uint8Array; payload: Uint8Array; guestAddress?: number }): Promise<void>;
  /** ATTESTATION report (0xD0 bytes) over the caller's 16-byte nonce. */
  attestationReport(mnonce: Uint8Array): Promise<Uint8Array>;
}

/** A guest of SEV-SNP: what it is, it proves itself, with reports that it asks the secure processor for. */
export interface SnpMachine extends VirtualMachine {
  information(): Promise<SnpInformation>;
}
