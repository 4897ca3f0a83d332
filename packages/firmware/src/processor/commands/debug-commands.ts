import {
  debugDecryptBuffer,
  debugEncryptBuffer,
  parseGuestPolicy,
  type SevCommandName,
} from '@vouchsafe/sev';
import { decryptMemory, encryptMemory } from '../../memory/encryption.js';
import { refuseUnless } from '../command-refusal.js';
import type { GuestContext } from '../guest-contexts.js';
import type { HostSnapshot } from '../host-snapshot.js';
import type { Processor } from '../processor.js';

/** Reading and writing a guest's memory for its host, where the guest's policy allows it (SEV API 0.24, chapter 6). */

export async function debugDecrypt(processor: Processor, request: HostSnapshot): Promise<void> {
  const command = request.command(debugDecryptBuffer);
  const { memoryKey } = debuggable(processor, 'DBG_DECRYPT', command);
  request.range(command.destinationAddress, command.length);
  const ciphertext = request.take(command.sourceAddress, command.length);
  request.place(
    command.destinationAddress,
    decryptMemory(memoryKey, Number(command.sourceAddress), ciphertext),
  );
}

export async function debugEncrypt(processor: Processor, request: HostSnapshot): Promise<void> {
  const command = request.command(debugEncryptBuffer);
  const { memoryKey } = debuggable(processor, 'DBG_ENCRYPT', command);
  const to = request.range(command.destinationAddress, command.length);
  const plaintext = request.take(command.sourceAddress, command.length);
  request.place(command.destinationAddress, encryptMemory(memoryKey, to.address, plaintext));
}

function debuggable(
  processor: Processor,
  name: SevCommandName,
  command: {
    readonly handle: number;
    readonly sourceAddress: bigint;
    readonly destinationAddress: bigint;
    readonly length: number;
  },
): GuestContext {
  const guest = processor.session.guests.admit(name, command.handle);
  refuseUnless(!parseGuestPolicy(guest.policy).noDebug, 'POLICY_FAILURE');
  const aligned = command.sourceAddress % 16n === 0n && command.destinationAddress % 16n === 0n;
  refuseUnless(aligned, 'INVALID_ADDRESS');
  refuseUnless(command.length > 0 && command.length % 16 === 0, 'INVALID_LENGTH');
  return guest;
}
