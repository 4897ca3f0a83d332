import {
  buildTcbVersion,
  type Generation,
  InvalidArgumentError,
  type P384PrivateKey,
  type P384PublicKey,
  type ProductLine,
  type Secret,
  type TcbVersion,
  tcbLayout,
  toHex,
} from '@vouchsafe/sev';
import { type Chip, chipId } from './chip.js';
import { deriveBytes, deriveP384Key } from './keys.js';

/**
 * The versioned chip endorsement key: one for each TCB version of a chip, so that a signature says which firmware made
 * it, and older firmware cannot make those of newer. Real chips get there by hashing their secret once per version.
 */

const lines: Partial<Record<Generation, ProductLine>> = { milan: 'Milan', genoa: 'Genoa', turin: 'Turin' };

/** @throws InvalidArgumentError for a generation without SEV-SNP */
function productLineOf(generation: Generation): ProductLine {
  const line = lines[generation];
  if (line === undefined) throw new InvalidArgumentError('generation', `${generation} has no SEV-SNP`);
  return line;
}

/** CHIP_ID of attestation reports: 64 bytes, of which Turin and later use 8, followed by zeros. */
export function snpChipId(chip: Chip): Uint8Array {
  const id = chipId(chip);
  return tcbLayout(productLineOf(chip.generation)) === 'turin' ? id.fill(0, 8) : id;
}

/**
 * The VCEK for a TCB version. The caller zeroes its scalar.
 * @throws InvalidArgumentError when the version is of another product line, or the chip has no SEV-SNP
 */
export function vcekKey(chip: Chip, tcb: TcbVersion): P384PrivateKey {
  return deriveP384Key(chip.secret, `vcek ${tcbText(chip, tcb)}`);
}

/** What keys of guests are derived from when they are bound to the chip and this TCB version: 32 bytes. */
export function vcekSeed(chip: Chip, tcb: TcbVersion): Secret {
  return deriveBytes(chip.secret, `vcek seed ${tcbText(chip, tcb)}`, 32);
}

/**
 * What the maker sends to the key service, which certifies the VCEK under the product line's ASK.
 * @throws InvalidArgumentError as {@link vcekKey}
 */
export function vcekEndorsementRequest(
  chip: Chip,
  tcb: TcbVersion,
): {
  readonly line: ProductLine;
  readonly tcb: TcbVersion;
  /** 64 bytes, as in reports. */
  readonly chipId: Uint8Array;
  readonly publicKey: P384PublicKey;
} {
  const key = vcekKey(chip, tcb);
  key.scalar.zero();
  return {
    line: productLineOf(chip.generation),
    tcb,
    chipId: snpChipId(chip),
    publicKey: key.publicKey,
  };
}

function tcbText(chip: Chip, tcb: TcbVersion): string {
  return toHex(buildTcbVersion(tcb, tcbLayout(productLineOf(chip.generation))));
}
