import type { ApiVersion, GuestState, PlatformState, SevCommandName } from '@vouchsafe/sev';

/**
 * Which command is legal where (SEV API 0.24, chapters 5 and 6). A wrong platform state is INVALID_PLATFORM_STATE before
 * any other check, a wrong guest state INVALID_GUEST_STATE. Every command has its row, those of a later issue too.
 */
export interface CommandRule {
  readonly platform: readonly PlatformState[];
  /** Absent where the command names no guest, or makes one. */
  readonly guest?: readonly GuestState[];
  /** Whether the guest must own an ASID (else INACTIVE), or must not (else ACTIVE). */
  readonly asid?: 'owned' | 'none';
  /** For SEV-ES guests only, else UNSUPPORTED. */
  readonly encryptedState?: true;
  /** First API version that has it; older firmware does not know the command. */
  readonly since?: ApiVersion;
}

const anyState = ['UNINIT', 'INIT', 'WORKING'] as const;
const initialised = ['INIT', 'WORKING'] as const;
const anyGuest = ['LUPDATE', 'LSECRET', 'RUNNING', 'SUPDATE', 'RUPDATE', 'SENT'] as const;

const guest = (
  states: readonly GuestState[],
  more: Pick<CommandRule, 'asid' | 'encryptedState'> = {},
): CommandRule => ({
  platform: ['WORKING'],
  guest: states,
  ...more,
});

export const stateTable: Readonly<Record<SevCommandName, CommandRule>> = {
  INIT: { platform: ['UNINIT'] },
  INIT_EX: { platform: ['UNINIT'] },
  SHUTDOWN: { platform: anyState },
  PLATFORM_RESET: { platform: ['UNINIT'] },
  PLATFORM_STATUS: { platform: anyState },
  PEK_GEN: { platform: ['INIT'] },
  PEK_CSR: { platform: initialised },
  PEK_CERT_IMPORT: { platform: ['INIT'] },
  PDH_GEN: { platform: initialised },
  PDH_CERT_EXPORT: { platform: initialised },
  GET_ID: { platform: anyState, since: { apiMajor: 0, apiMinor: 16 } },
  DF_FLUSH: { platform: initialised },
  DOWNLOAD_FIRMWARE: { platform: ['UNINIT'], since: { apiMajor: 0, apiMinor: 15 } },
  NOP: { platform: anyState },
  RING_BUFFER: { platform: anyState },

  LAUNCH_START: { platform: initialised },
  LAUNCH_UPDATE_DATA: guest(['LUPDATE'], { asid: 'owned' }),
  LAUNCH_UPDATE_VMSA: guest(['LUPDATE'], { asid: 'owned', encryptedState: true }),
  LAUNCH_MEASURE: guest(['LUPDATE']),
  LAUNCH_SECRET: guest(['LSECRET'], { asid: 'owned' }),
  LAUNCH_FINISH: guest(['LSECRET']),
  ATTESTATION: guest(['LSECRET', 'RUNNING', 'SUPDATE', 'SENT']),

  ACTIVATE: guest(['LUPDATE', 'LSECRET', 'RUNNING', 'SUPDATE', 'RUPDATE']),
  ACTIVATE_EX: guest(['LUPDATE', 'LSECRET', 'RUNNING', 'SUPDATE', 'RUPDATE']),
  DEACTIVATE: guest(anyGuest, { asid: 'owned' }),
  DECOMMISSION: guest(anyGuest, { asid: 'none' }),
  GUEST_STATUS: { platform: initialised },
  COPY: guest(anyGuest, { asid: 'owned' }),
  DBG_DECRYPT: guest(anyGuest, { asid: 'owned' }),
  DBG_ENCRYPT: guest(anyGuest, { asid: 'owned' }),

  SEND_START: guest(['RUNNING']),
  SEND_UPDATE_DATA: guest(['SUPDATE'], { asid: 'owned' }),
  SEND_UPDATE_VMSA: guest(['SUPDATE'], { asid: 'owned', encryptedState: true }),
  SEND_FINISH: guest(['SUPDATE']),
  SEND_CANCEL: guest(['SUPDATE']),
  RECEIVE_START: { platform: initialised },
  RECEIVE_UPDATE_DATA: guest(['RUPDATE'], { asid: 'owned' }),
  RECEIVE_UPDATE_VMSA: guest(['RUPDATE'], { asid: 'owned', encryptedState: true }),
  RECEIVE_FINISH: guest(['RUPDATE']),
  SWAP_OUT: { platform: anyState },
  SWAP_IN: { platform: anyState },
};
