import { type SnpCommandName, snpDbgBuffer } from '@vouchsafe/sev';
import { decryptMemory, encryptMemory } from '../../memory/encryption.js';
import { refuseUnless } from '../../processor/command-refusal.js';
import { isGuestState, smallPage } from '../../rmp/page-state.js';
import type { SnpGuestContext } from '../guest-contexts.js';
import type { SnpCall } from './command-handlers.js';

/** Reading and writing an SNP guest's pages for its host, where the guest's policy allows it. */

export async function snpDebugDecrypt(call: SnpCall): Promise<void> {
  const { processor, request } = call;
  const { guest, source, destination } = debuggable('SNP_DBG_DECRYPT', call);
  requireOwned(call, guest, source);
  const ciphertext = processor.memory.read(source, smallPage);
  request.placeResult(BigInt(destination), decryptMemory(guest.launched.memoryKey, source, ciphertext));
}

export async function snpDebugEncrypt(call: SnpCall): Promise<void> {
  const { processor, request } = call;
  const { guest, source, destination } = debuggable('SNP_DBG_ENCRYPT', call);
  requireOwned(call, guest, destination);
  const plaintext = request.take(BigInt(source), smallPage);
  processor.memory.write(destination, encryptMemory(guest.launched.memoryKey, destination, plaintext));
}

function debuggable(
  name: SnpCommandName,
  { firmware, request }: SnpCall,
): { readonly guest: SnpGuestContext; readonly source: number; readonly destination: number } {
  const command = request.command(snpDbgBuffer);
  const guest = firmware.session.guests.admit(name, request.page(command.gctxAddress));
  refuseUnless(guest.launched.policy.debug, 'POLICY_FAILURE');
  const source = request.page(command.sourceAddress);
  return { guest, source, destination: request.page(command.destinationAddress) };
}

function requireOwned({ firmware }: SnpCall, guest: SnpGuestContext, page: number): void {
  const { reverseMap } = firmware.session;
  refuseUnless(isGuestState(reverseMap.state(page)), 'INVALID_PAGE_STATE');
  refuseUnless(reverseMap.entry(page).asid === guest.asid, 'INVALID_PAGE_OWNER');
}
