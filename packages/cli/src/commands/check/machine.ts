/** A machine as its host launches it. */
export interface BootMachine {
  readonly mode: 'sev' | 'seves' | 'snp';
  readonly policy: bigint;
  readonly firmware: Uint8Array;
  /** A measured direct boot, if its files are handed to the machine. */
  readonly kernel?: Uint8Array | undefined;
  readonly initrd?: Uint8Array | undefined;
  readonly commandLine?: string | undefined;
  /** QEMU's kernel-hashes=on: without it nothing is measured but the firmware. */
  readonly kernelHashes: boolean;
  /** The firmware's variables lie in a file of the host's. */
  readonly variables: boolean;
  /** Where the boot loader is, without a direct boot. */
  readonly bootLoader?: 'firmware' | 'disk' | undefined;
  readonly disk: BootDisk;
  /** Init-data that the host hands over, and whether HOST_DATA is compared with its digest. */
  readonly initData?: 'bound' | 'unbound' | undefined;
}

/** What is known of the root disk. */
export type BootDisk =
  | { readonly kind: 'none' }
  | { readonly kind: 'plain' }
  | {
      readonly kind: 'luks2';
      /** The checks of `diskChecks` that its header does not pass. */
      readonly failed: readonly string[];
      /** Its binding, in hexadecimal. */
      readonly binding: string;
      /** Where the key comes from when the command line does not say. */
      readonly key?: 'injected' | 'broker' | 'typed' | undefined;
    };
