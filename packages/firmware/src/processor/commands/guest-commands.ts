import {
  activateBuffer,
  activateExBuffer,
  copyBuffer,
  deactivateBuffer,
  decommissionBuffer,
  guestStates,
  guestStatusBuffer,
} from '@vouchsafe/sev';
import { decryptMemory, encryptMemory } from '../../memory/encryption.js';
import { refuseUnless } from '../command-refusal.js';
import { requireAdmission } from '../guest-contexts.js';
import type { HostSnapshot } from '../host-snapshot.js';
import type { Processor } from '../processor.js';

/** Managing guests (SEV API 0.24, chapter 6): address space ids, status, end. */

export async function activate(processor: Processor, request: HostSnapshot): Promise<void> {
  const command = request.command(activateBuffer);
  const { guests, asids } = processor.session;
  const guest = guests.named(command.handle);
  asids.requireAvailable(command.asid, guest);
  asids.activate(command.asid, guest);
}

/** Limits the guest to some core complexes, of which this machine has one; repeating it with the same ASID adds more. */
export async function activateEx(processor: Processor, request: HostSnapshot): Promise<void> {
  const command = request.command(activateExBuffer);
  refuseUnless(command.length === activateExBuffer.size, 'INVALID_LENGTH');
  const { guests, asids } = processor.session;
  const guest = guests.named(command.handle);
  request.range(command.idListAddress, 4 * command.idCount);
  if (guest.asid !== undefined && guest.asid === command.asid) {
    requireAdmission('ACTIVATE_EX', guest);
    return;
  }
  asids.requireAvailable(command.asid, guest);
  asids.activate(command.asid, guest);
}

export async function deactivate(processor: Processor, request: HostSnapshot): Promise<void> {
  const { handle } = request.command(deactivateBuffer);
  const { guests, asids } = processor.session;
  asids.deactivate(guests.admit('DEACTIVATE', handle));
}

export async function decommission(processor: Processor, request: HostSnapshot): Promise<void> {
  const { handle } = request.command(decommissionBuffer);
  const { guests, trusted } = processor.session;
  guests.remove(guests.admit('DECOMMISSION', handle));
  trusted.release(handle);
}

/** A handle that nobody has is answered, with state UNINIT. */
export async function guestStatus(processor: Processor, request: HostSnapshot): Promise<void> {
  const { handle } = request.command(guestStatusBuffer);
  const guest = processor.session.guests.find(handle);
  request.answer(guestStatusBuffer, {
    handle,
    policy: guest?.policy ?? 0,
    asid: guest?.asid ?? 0,
    state: guestStates[guest?.state ?? 'UNINIT'],
  });
}

/** Moves a guest's pages: decrypted at the one address and encrypted at the other, out of the host's sight. */
export async function copy(processor: Processor, request: HostSnapshot): Promise<void> {
  const command = request.command(copyBuffer);
  const { memoryKey } = processor.session.guests.admit('COPY', command.handle);
  refuseUnless(command.sourceAddress % 4096n === 0n, 'INVALID_ADDRESS');
  refuseUnless(command.destinationAddress % 4096n === 0n, 'INVALID_ADDRESS');
  refuseUnless(command.length > 0 && command.length % 4096 === 0, 'INVALID_LENGTH');
  const to = request.range(command.destinationAddress, command.length);
  const ciphertext = request.take(command.sourceAddress, command.length);
  const plaintext = decryptMemory(memoryKey, Number(command.sourceAddress), ciphertext);
  request.place(command.destinationAddress, encryptMemory(memoryKey, to.address, plaintext));
  plaintext.fill(0);
}
