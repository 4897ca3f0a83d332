import type { SnpCommandName } from '@vouchsafe/sev';
import { refuseUnless } from '../../processor/command-refusal.js';
import type { Processor } from '../../processor/processor.js';
import type { SnpFirmware } from '../snp-firmware.js';
import { SnpRequest } from '../snp-request.js';
import { snpCommandHandlers } from './command-handlers.js';
import { snpStateTable } from './state-table.js';

/** Carries a SEV-SNP command out, or throws a CommandRefusal with its status. */
export async function runSnpCommand(
  processor: Processor,
  firmware: SnpFirmware,
  name: SnpCommandName,
  bufferAddress: number,
): Promise<void> {
  refuseUnless(snpStateTable[name].platform.includes(firmware.state), 'INVALID_PLATFORM_STATE');
  const { memory, current } = processor;
  const request = new SnpRequest(memory, current?.trusted.range, bufferAddress, firmware.reverseMap);
  await snpCommandHandlers[name]({ processor, firmware, request });
}
