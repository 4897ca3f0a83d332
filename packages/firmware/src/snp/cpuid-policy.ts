import type { CpuidEntry, ProductLine } from '@vouchsafe/sev';

/**
 * What a guest may be told of its processor. The firmware does not know what the host offers, only what there is: a guest
 * that believed in a feature that is not there would take a fault for a failed attack, or skip a mitigation. AMD's rules
 * are in its processor manuals; these are the ones that matter most, and every other function passes as it is.
 */
interface Rule {
  readonly function: number;
  readonly subfunction?: number;
  /** Bits that a guest may see set, by register. A register that is left out is not looked at. */
  readonly features?: Partial<Record<Register, number>>;
  /** Values that nothing else may stand for. */
  readonly exact?: Partial<Record<Register, number>>;
}
type Register = 'eax' | 'ebx' | 'ecx' | 'edx';

const avx512: Partial<Record<ProductLine, number>> = { Genoa: 0xd023_0000, Turin: 0xd023_0000 };
const hypervisorPresent = 0x8000_0000;

function rules(line: ProductLine): readonly Rule[] {
  return [
    // AuthenticAMD
    { function: 0, exact: { ebx: 0x6874_7541, edx: 0x6974_6e65, ecx: 0x444d_4163 } },
    { function: 1, features: { ecx: 0x7efa_320b | hypervisorPresent, edx: 0x178b_fbff } },
    {
      function: 7,
      subfunction: 0,
      features: { ebx: 0x219c_97a9 | (avx512[line] ?? 0), ecx: 0x0041_5fde, edx: 0x1000_0010 },
    },
    { function: 0xd, subfunction: 1, features: { eax: 0x0000_000f } },
    { function: 0x8000_0001, features: { ecx: 0x75c2_37ff, edx: 0x2fd3_fbff } },
    { function: 0x8000_0008, features: { ebx: 0x791e_f657 } },
    // C-bit position 51, five bits of address less.
    { function: 0x8000_001f, exact: { ebx: 51 | (1 << 6) }, features: { eax: 0x0101_fd3f } },
  ];
}

/** The entry as the processor would answer: the same object where nothing is wrong with it. */
export function acceptableCpuid(entry: CpuidEntry, line: ProductLine): CpuidEntry {
  const rule = rules(line).find(
    (each) =>
      each.function === entry.eaxIn && (each.subfunction === undefined || each.subfunction === entry.ecxIn),
  );
  if (rule === undefined) return entry;
  const { features = {}, exact = {} } = rule;
  const corrected = { ...entry };
  for (const register of ['eax', 'ebx', 'ecx', 'edx'] as const) {
    const mask = features[register];
    if (mask !== undefined) corrected[register] = (entry[register] & mask) >>> 0;
    corrected[register] = exact[register] ?? corrected[register];
  }
  const isSame = (['eax', 'ebx', 'ecx', 'edx'] as const).every((name) => corrected[name] === entry[name]);
  return isSame ? entry : corrected;
}
