import type { SevCommandName } from '@vouchsafe/sev';
import { refuse } from '../command-refusal.js';
import type { HostSnapshot } from '../host-snapshot.js';
import { pekCertImport, pekCsr } from '../ownership.js';
import type { Processor } from '../processor.js';
import { debugDecrypt, debugEncrypt } from './debug-commands.js';
import { activate, activateEx, copy, deactivate, decommission, guestStatus } from './guest-commands.js';
import {
  attestation,
  launchFinish,
  launchMeasure,
  launchSecret,
  launchStart,
  launchUpdateData,
  launchUpdateVmsa,
} from './launch-commands.js';
import { migrationCommands } from './migration-commands.js';
import {
  dfFlush,
  getId,
  init,
  initEx,
  pdhCertExport,
  pdhGen,
  pekGen,
  platformReset,
  platformStatusCommand,
  shutdown,
} from './platform-commands.js';

/** Carries a command out, or refuses it with a status. The dispatcher has checked the platform's state. */
export type CommandHandler = (processor: Processor, request: HostSnapshot) => Promise<void>;

const unsupported: CommandHandler = async () => refuse('UNSUPPORTED');

export const commandHandlers: Readonly<Record<SevCommandName, CommandHandler>> = {
  INIT: init,
  INIT_EX: initEx,
  SHUTDOWN: shutdown,
  PLATFORM_RESET: platformReset,
  PLATFORM_STATUS: platformStatusCommand,
  PEK_GEN: pekGen,
  PEK_CSR: pekCsr,
  PEK_CERT_IMPORT: pekCertImport,
  PDH_GEN: pdhGen,
  PDH_CERT_EXPORT: pdhCertExport,
  GET_ID: getId,
  DF_FLUSH: dfFlush,
  DOWNLOAD_FIRMWARE: unsupported,
  NOP: async () => undefined,
  RING_BUFFER: unsupported,

  LAUNCH_START: launchStart,
  LAUNCH_UPDATE_DATA: launchUpdateData,
  LAUNCH_UPDATE_VMSA: launchUpdateVmsa,
  LAUNCH_MEASURE: launchMeasure,
  LAUNCH_SECRET: launchSecret,
  LAUNCH_FINISH: launchFinish,
  ATTESTATION: attestation,

  ACTIVATE: activate,
  ACTIVATE_EX: activateEx,
  DEACTIVATE: deactivate,
  DECOMMISSION: decommission,
  GUEST_STATUS: guestStatus,
  COPY: copy,
  DBG_DECRYPT: debugDecrypt,
  DBG_ENCRYPT: debugEncrypt,

  ...migrationCommands,
  SWAP_OUT: unsupported,
  SWAP_IN: unsupported,
};
