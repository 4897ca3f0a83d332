import type { SnpCommandName } from '@vouchsafe/sev';
import { refuse } from '../../processor/command-refusal.js';
import type { Processor } from '../../processor/processor.js';
import { snpGuestRequest } from '../messages/guest-request.js';
import type { SnpFirmware } from '../snp-firmware.js';
import type { SnpRequest } from '../snp-request.js';
import { snpDebugDecrypt, snpDebugEncrypt } from './debug-commands.js';
import {
  snpActivate,
  snpActivateEx,
  snpDecommission,
  snpGctxCreate,
  snpGuestStatusCommand,
} from './guest-commands.js';
import { snpLaunchFinish, snpLaunchStart, snpLaunchUpdate } from './launch-commands.js';
import {
  snpPageMdInit,
  snpPageMove,
  snpPageReclaim,
  snpPageSwapIn,
  snpPageSwapOut,
  snpPageUnsmash,
} from './page-commands.js';
import {
  snpDfFlush,
  snpFeatureInfoCommand,
  snpInit,
  snpInitEx,
  snpPlatformStatusCommand,
  snpShutdown,
  snpShutdownEx,
} from './platform-commands.js';
import { snpCommit, snpConfig, snpVlekLoad } from './version-commands.js';

export interface SnpCall {
  readonly processor: Processor;
  readonly firmware: SnpFirmware;
  readonly request: SnpRequest;
}

/** Carries a command out, or refuses it with a status. The dispatcher has checked the platform's state. */
export type SnpCommandHandler = (call: SnpCall) => Promise<void>;

const unsupported: SnpCommandHandler = async () => refuse('UNSUPPORTED');

export const snpCommandHandlers: Readonly<Record<SnpCommandName, SnpCommandHandler>> = {
  SNP_INIT: snpInit,
  SNP_INIT_EX: snpInitEx,
  SNP_SHUTDOWN: snpShutdown,
  SNP_SHUTDOWN_EX: snpShutdownEx,
  SNP_PLATFORM_STATUS: snpPlatformStatusCommand,
  SNP_FEATURE_INFO: snpFeatureInfoCommand,
  SNP_DF_FLUSH: snpDfFlush,
  SNP_CONFIG: snpConfig,
  SNP_COMMIT: snpCommit,
  SNP_VLEK_LOAD: snpVlekLoad,
  SNP_VERIFY_MITIGATION: unsupported,
  SNP_DOWNLOAD_FIRMWARE_EX: unsupported,

  SNP_GCTX_CREATE: snpGctxCreate,
  SNP_LAUNCH_START: snpLaunchStart,
  SNP_ACTIVATE: snpActivate,
  SNP_ACTIVATE_EX: snpActivateEx,
  SNP_LAUNCH_UPDATE: snpLaunchUpdate,
  SNP_LAUNCH_FINISH: snpLaunchFinish,
  SNP_GUEST_REQUEST: snpGuestRequest,
  SNP_GUEST_STATUS: snpGuestStatusCommand,
  SNP_DECOMMISSION: snpDecommission,
  SNP_DBG_DECRYPT: snpDebugDecrypt,
  SNP_DBG_ENCRYPT: snpDebugEncrypt,

  SNP_PAGE_RECLAIM: snpPageReclaim,
  SNP_PAGE_UNSMASH: snpPageUnsmash,
  SNP_PAGE_SET_STATE: unsupported,
  SNP_PAGE_MD_INIT: snpPageMdInit,
  SNP_PAGE_MOVE: snpPageMove,
  SNP_PAGE_SWAP_OUT: snpPageSwapOut,
  SNP_PAGE_SWAP_IN: snpPageSwapIn,

  TIO_STATUS: unsupported,
  TIO_INIT: unsupported,
  TIO_DEV_CREATE: unsupported,
  TIO_DEV_RECLAIM: unsupported,
  TIO_DEV_CONNECT: unsupported,
  TIO_DEV_DISCONNECT: unsupported,
};
