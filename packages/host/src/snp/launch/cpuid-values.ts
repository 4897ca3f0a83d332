import type { HostMachine } from '@vouchsafe/firmware/mailbox';
import { buildCpuidPage, type CpuidEntry, parseCpuidPage } from '@vouchsafe/sev';

/** “AuthenticAMD” in EBX, EDX and ECX. */
const vendor = { ebx: 0x6874_7541, edx: 0x6974_6e65, ecx: 0x444d_4163 };

/** SME, SEV, page flush MSR, SEV-ES, SEV-SNP, VMPL. */
const memoryEncryption = 0x3f;

/**
 * The CPUID page of a software guest, 4096 bytes: the few functions that its firmware can look at. The secure processor
 * refuses values that promise more than it has.
 */
export function cpuidPageOf(machine: HostMachine, vcpuSignature: number): Uint8Array {
  const { cBitPosition } = machine.capabilities;
  return buildCpuidPage([
    entry(0x0, { eax: 0x10, ...vendor }),
    entry(0x1, { eax: vcpuSignature }),
    entry(0x8000_0000, { eax: 0x8000_0024, ...vendor }),
    entry(0x8000_001f, { eax: memoryEncryption, ebx: cBitPosition | (1 << 6) }),
  ]);
}

function entry(
  eaxIn: number,
  registers: Partial<Pick<CpuidEntry, 'eax' | 'ebx' | 'ecx' | 'edx'>>,
): CpuidEntry {
  return { eaxIn, ecxIn: 0, xcr0In: 0n, xssIn: 0n, eax: 0, ebx: 0, ecx: 0, edx: 0, ...registers };
}

/** Which functions the processor corrected, in words: `0x8000001F: EBX 0x73 instead of 0x74`. */
export function cpuidDifferences(given: Uint8Array, corrected: Uint8Array): string {
  const expected = parseCpuidPage(corrected);
  const registers = ['eax', 'ebx', 'ecx', 'edx'] as const;
  return parseCpuidPage(given)
    .flatMap((from, i) => {
      const to = expected[i];
      const changed = registers.filter((name) => to !== undefined && to[name] !== from[name]);
      if (to === undefined || changed.length === 0) return [];
      const shown = changed.map(
        (name) => `${name.toUpperCase()} ${hex(to[name])} instead of ${hex(from[name])}`,
      );
      return [`${hex(from.eaxIn)}: ${shown.join(', ')}`];
    })
    .join('; ');
}

const hex = (value: number) => `0x${value.toString(16)}`;
