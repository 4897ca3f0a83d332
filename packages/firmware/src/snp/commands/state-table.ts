import type { SnpCommandName, SnpGuestState } from '@vouchsafe/sev';

/**
 * Which SEV-SNP command is legal where (SEV-SNP firmware ABI). A wrong platform state is INVALID_PLATFORM_STATE before
 * any other check, a wrong guest state INVALID_GUEST_STATE. Every command has its row, those of a later issue too.
 */
export interface SnpCommandRule {
  readonly platform: readonly SnpPlatformState[];
  /** Absent where the command names no guest, or makes one. */
  readonly guest?: readonly SnpGuestState[];
  /** Whether the guest must own an ASID, else INACTIVE. */
  readonly active?: true;
}

/** SEV-SNP's own, beside that of SEV and SEV-ES. */
export type SnpPlatformState = 'UNINIT' | 'INIT';

const anyState = { platform: ['UNINIT', 'INIT'] } as const;
const uninit = { platform: ['UNINIT'] } as const;
const init = { platform: ['INIT'] } as const;
const anyGuest = ['INIT', 'LAUNCH', 'RUNNING'] as const;

const guest = (
  states: readonly SnpGuestState[],
  more: Pick<SnpCommandRule, 'active'> = {},
): SnpCommandRule => ({
  ...init,
  guest: states,
  ...more,
});

export const snpStateTable: Readonly<Record<SnpCommandName, SnpCommandRule>> = {
  SNP_INIT: uninit,
  SNP_INIT_EX: uninit,
  SNP_SHUTDOWN: init,
  SNP_SHUTDOWN_EX: init,
  SNP_PLATFORM_STATUS: anyState,
  SNP_FEATURE_INFO: anyState,
  SNP_DF_FLUSH: init,
  SNP_CONFIG: init,
  SNP_COMMIT: init,
  SNP_VLEK_LOAD: init,
  SNP_VERIFY_MITIGATION: init,
  SNP_DOWNLOAD_FIRMWARE_EX: anyState,

  SNP_GCTX_CREATE: init,
  SNP_LAUNCH_START: guest(['INIT']),
  SNP_ACTIVATE: guest(['LAUNCH', 'RUNNING']),
  SNP_ACTIVATE_EX: guest(['LAUNCH', 'RUNNING']),
  SNP_LAUNCH_UPDATE: guest(['LAUNCH'], { active: true }),
  SNP_LAUNCH_FINISH: guest(['LAUNCH']),
  SNP_GUEST_REQUEST: guest(['RUNNING']),
  SNP_GUEST_STATUS: guest(anyGuest),
  SNP_DECOMMISSION: guest(anyGuest),
  SNP_DBG_DECRYPT: guest(['LAUNCH', 'RUNNING'], { active: true }),
  SNP_DBG_ENCRYPT: guest(['LAUNCH', 'RUNNING'], { active: true }),

  SNP_PAGE_RECLAIM: init,
  SNP_PAGE_UNSMASH: init,
  SNP_PAGE_SET_STATE: init,
  SNP_PAGE_MD_INIT: guest(anyGuest),
  SNP_PAGE_MOVE: guest(['LAUNCH', 'RUNNING'], { active: true }),
  SNP_PAGE_SWAP_OUT: guest(['LAUNCH', 'RUNNING'], { active: true }),
  SNP_PAGE_SWAP_IN: guest(['LAUNCH', 'RUNNING'], { active: true }),

  TIO_STATUS: init,
  TIO_INIT: init,
  TIO_DEV_CREATE: init,
  TIO_DEV_RECLAIM: init,
  TIO_DEV_CONNECT: init,
  TIO_DEV_DISCONNECT: init,
};
