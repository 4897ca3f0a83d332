import type { Location } from '../codec/field.js';
import { reserved, u8 } from '../codec/fields.js';
import { structure } from '../codec/structure.js';
import { InvalidArgumentError } from '../errors.js';
import type { ProductLine } from './product-line.js';

const source = 'SEV-SNP firmware ABI, TCB_VERSION';

/** The two forms of a TCB version. Which one stands in a report, the product line says, not the report's version. */
export const tcbVersions = {
  milan: structure(
    { name: 'TCB_VERSION, Milan and Genoa', size: 8, source },
    {
      bootloader: u8(0, 'security version of the bootloader of the secure processor'),
      tee: u8(1, 'security version of the operating system of the secure processor'),
      reserved: reserved(2, 4),
      snp: u8(6, 'security version of the SNP firmware'),
      microcode: u8(7, 'lowest microcode patch level of all cores'),
    },
  ),
  turin: structure(
    { name: 'TCB_VERSION, Turin', size: 8, source },
    {
      fmc: u8(0, 'security version of the first mutable code, which the boot ROM starts'),
      bootloader: u8(1, 'security version of the bootloader of the secure processor'),
      tee: u8(2, 'security version of the operating system of the secure processor'),
      snp: u8(3, 'security version of the SNP firmware'),
      reserved: reserved(4, 3),
      microcode: u8(7, 'lowest microcode patch level of all cores'),
    },
  ),
};
export type TcbLayout = keyof typeof tcbVersions;

/** In the order in which the key distribution service names them. */
export const tcbComponents = ['fmc', 'bootloader', 'tee', 'snp', 'microcode'] as const;
export type TcbComponent = (typeof tcbComponents)[number];

/** Security versions, 0 to 255 each. They compare component by component, never as one number. */
export interface TcbVersion {
  /** Turin and later only. */
  readonly fmc?: number;
  readonly bootloader: number;
  readonly tee: number;
  readonly snp: number;
  readonly microcode: number;
}

export function tcbLayout(line: ProductLine): TcbLayout {
  return line === 'Milan' || line === 'Genoa' ? 'milan' : 'turin';
}

/**
 * Reads the 8 bytes of a TCB version.
 * @throws MalformedError for another length, or reserved bytes that are not zero: most often the other layout's
 */
export function parseTcbVersion(bytes: Uint8Array, layout: TcbLayout, location?: Location): TcbVersion {
  const { raw: _raw, notes: _notes, ...tcb } = tcbVersions[layout].parse(bytes, location);
  return tcb;
}

/**
 * The 8 bytes of a TCB version.
 * @throws InvalidArgumentError when a component does not fit a byte, or the layout and FMC contradict each other
 */
export function buildTcbVersion(tcb: TcbVersion, layout: TcbLayout): Uint8Array {
  const { fmc, ...others } = tcb;
  if (layout === 'milan') {
    if (fmc !== undefined) throw new InvalidArgumentError('fmc', 'Milan and Genoa have no such component');
    return tcbVersions.milan.build(others);
  }
  if (fmc === undefined) throw new InvalidArgumentError('fmc', 'Turin and later need this component');
  return tcbVersions.turin.build({ ...others, fmc });
}

/**
 * Whether no component is below the floor. Components that the floor leaves out are not compared; one that the floor
 * names and `tcb` lacks is below.
 */
export function tcbAtLeast(
  tcb: TcbVersion,
  floor: Partial<TcbVersion>,
): { readonly ok: boolean; readonly below: readonly TcbComponent[] } {
  const below = tcbComponents.filter((name) => {
    const least = floor[name];
    return least !== undefined && (tcb[name] ?? -1) < least;
  });
  return { ok: below.length === 0, below };
}

/** The components in which two TCB versions differ; one that only one of them has is a difference. */
export function tcbDifferences(a: TcbVersion, b: TcbVersion): readonly TcbComponent[] {
  return tcbComponents.filter((name) => a[name] !== b[name]);
}

/** `bootloader 4, tee 0, snp 24, microcode 217` */
export function formatTcb(tcb: Partial<TcbVersion>): string {
  const named = tcbComponents.filter((name) => tcb[name] !== undefined);
  return named.map((name) => `${name} ${tcb[name]}`).join(', ');
}

const kdsNames: Readonly<Record<TcbComponent, string>> = {
  fmc: 'fmcSPL',
  bootloader: 'blSPL',
  tee: 'teeSPL',
  snp: 'snpSPL',
  microcode: 'ucodeSPL',
};

/** The parameters of a request to the key distribution service, in its documented order. */
export function kdsParameters(tcb: TcbVersion): readonly (readonly [name: string, value: number])[] {
  return tcbComponents.flatMap((name) => {
    const value = tcb[name];
    return value === undefined ? [] : [[kdsNames[name], value] as const];
  });
}
