import {
  receiveFinishBuffer,
  receiveStartBuffer,
  receiveUpdateDataBuffer,
  receiveUpdateVmsaBuffer,
  type SevCommandName,
  type Structure,
  sendCancelBuffer,
  sendFinishBuffer,
  sendStartBuffer,
  sendUpdateDataBuffer,
  sendUpdateVmsaBuffer,
} from '@vouchsafe/sev';
import { refuse } from '../command-refusal.js';
import type { HostSnapshot } from '../host-snapshot.js';
import type { Processor } from '../processor.js';

/**
 * Migration (SEV API 0.24, SEND and RECEIVE): buffers and states are judged as they will be, and what then would be
 * carried out is UNSUPPORTED.
 */
type MigrationCommand = Extract<SevCommandName, `SEND_${string}` | `RECEIVE_${string}`>;
type Handler = (processor: Processor, request: HostSnapshot) => Promise<void>;

export const migrationCommands: Readonly<Record<MigrationCommand, Handler>> = {
  SEND_START: notYet('SEND_START', sendStartBuffer),
  SEND_UPDATE_DATA: notYet('SEND_UPDATE_DATA', sendUpdateDataBuffer),
  SEND_UPDATE_VMSA: notYet('SEND_UPDATE_VMSA', sendUpdateVmsaBuffer),
  SEND_FINISH: notYet('SEND_FINISH', sendFinishBuffer),
  SEND_CANCEL: notYet('SEND_CANCEL', sendCancelBuffer),
  RECEIVE_START: async (_processor, request) => {
    request.command(receiveStartBuffer);
    refuse('UNSUPPORTED');
  },
  RECEIVE_UPDATE_DATA: notYet('RECEIVE_UPDATE_DATA', receiveUpdateDataBuffer),
  RECEIVE_UPDATE_VMSA: notYet('RECEIVE_UPDATE_VMSA', receiveUpdateVmsaBuffer),
  RECEIVE_FINISH: notYet('RECEIVE_FINISH', receiveFinishBuffer),
};

function notYet<T extends { readonly handle: number }, B extends object>(
  name: MigrationCommand,
  buffer: Structure<T, B>,
): Handler {
  return async (processor, request) => {
    processor.session.guests.admit(name, request.command(buffer).handle);
    refuse('UNSUPPORTED');
  };
}
