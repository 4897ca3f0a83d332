import { crc32 } from 'node:zlib';
import { vmsa } from '@vouchsafe/sev';
import type { TrustedMemory } from '../processor/trusted-memory.js';

/**
 * The integrity check of a VMSA, on its plaintext: the page names a slot of the trusted memory region, where the host
 * cannot write, and the slot holds a CRC of the page's first 0xFC0 bytes. A changed page decrypts to noise and does not
 * match; neither does an older page of the same vCPU, because the slot moved on. A CRC is enough because the host can
 * compute neither side of it.
 */
const covered = 0xfc0;

/** Fills in the words of the integrity check and records the page in its slot. */
export function protectVmsa(page: Uint8Array, trusted: TrustedMemory, slot: number): void {
  setWord(page, 'integrityTag', 0n);
  setWord(page, 'integrityAddress', BigInt(slot));
  trusted.write(slot, integrityOf(page));
}

/** Records a page whose registers the processor has changed. */
export function refreshVmsa(page: Uint8Array, trusted: TrustedMemory): void {
  protectVmsa(page, trusted, Number(wordAt(page, 'integrityAddress')));
}

/** Whether the page is the latest that the processor recorded in the slot it names. */
export function isVmsaIntact(page: Uint8Array, trusted: TrustedMemory): boolean {
  return trusted.read(Number(wordAt(page, 'integrityAddress'))) === integrityOf(page);
}

/** Eight bytes: the CRC, and a bit that tells an empty slot from a recorded zero. */
function integrityOf(page: Uint8Array): bigint {
  return (1n << 63n) | BigInt(crc32(page.subarray(0, covered)));
}

export type VmsaWord =
  | 'integrityTag'
  | 'integrityAddress'
  | 'sevFeatures'
  | 'rip'
  | 'rsp'
  | 'rax'
  | 'rbx'
  | 'rcx'
  | 'rdx';

/** Reads and changes single words of a page, leaving what newer processors keep in its reserved ranges. */
export function wordAt(page: Uint8Array, name: VmsaWord): bigint {
  return new DataView(page.buffer, page.byteOffset).getBigUint64(vmsa.offsetOf(name), true);
}

export function setWord(page: Uint8Array, name: VmsaWord, value: bigint): void {
  new DataView(page.buffer, page.byteOffset).setBigUint64(vmsa.offsetOf(name), value, true);
}
