import { vmsa } from '@vouchsafe/sev';
import type { GuestRegisters } from '../guest-view.js';
import { setWord, wordAt } from '../memory/vmsa-integrity.js';

/** Where every x86 CPU begins: the last 16 bytes below 4 GiB. */
const resetVector = 0xffff_fff0n;

const wideRegisters = ['rsp', 'rax', 'rbx', 'rcx', 'rdx'] as const;

export function startsAtResetVector(page: Uint8Array): boolean {
  const { cs, rip } = vmsa.parse(page);
  return cs.base + rip === resetVector;
}

export function loadRegisters(page: Uint8Array, registers: GuestRegisters): void {
  registers.rip = Number(wordAt(page, 'rip'));
  for (const name of wideRegisters) registers[name] = wordAt(page, name);
}

export function saveRegisters(registers: GuestRegisters, page: Uint8Array): void {
  setWord(page, 'rip', BigInt(registers.rip));
  for (const name of wideRegisters) setWord(page, name, registers[name]);
}
