import type { BootFiles } from '../boot-files.js';

/**
 * What an owner gives to whoever runs its guest: a command line for the images, and an ID block, by which the secure
 * processor refuses every other guest. None of it is secret.
 */
export interface Release {
  /** What the owner counts up when an older release must not be trusted any more. */
  readonly guestSvn: number;
  readonly commandLine: string;
  /** 48 bytes. */
  readonly launchDigest: Uint8Array;
  /** ID block, 96 bytes, and ID authentication information, 4096 bytes. */
  readonly idBlock: { readonly block: Uint8Array; readonly authentication: Uint8Array };
}

/** What every guest of the demo has in common. */
export const snpGuest = {
  policy: 0x30000n,
  vcpus: 1,
  vcpuType: 'EPYC-Milan',
  /** All of it is made the guest's own before anything runs, so little is quicker. */
  memory: 8 * 1024 * 1024,
} as const;

export const commandLineOf = ({ commandLine }: BootFiles, guestSvn: number) =>
  `${commandLine} release=${guestSvn}`;
