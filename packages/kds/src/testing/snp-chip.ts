import { generateP384, type ProductLine, systemRandom, type TcbVersion, tcbLayout } from '@vouchsafe/sev';
import { openDevelopmentAuthority } from '../development-authority.js';
import { testAuthorityKeys } from './authority-keys.js';
import { temporaryFolder } from './temporary.js';

/** A moment that is not this one, so that a clock which is not injected shows. */
export const testTime = Date.parse('2031-03-01T12:00:00Z');
export const hour = 3_600_000;
export const day = 24 * hour;

/** A clock that stands until it is told. */
export function testClock(start = testTime) {
  let time = start;
  return {
    now: () => time,
    set(to: number) {
      time = to;
    },
    pass(by: number) {
      time += by;
    },
  };
}

export const generationOf = { Milan: 'milan', Genoa: 'genoa', Turin: 'turin' } as const;
export type SnpLine = keyof typeof generationOf;

export const tcbOf = (line: ProductLine): TcbVersion => ({
  ...(tcbLayout(line) === 'turin' ? { fmc: 1 } : {}),
  bootloader: 4,
  tee: 0,
  snp: 24,
  microcode: 217,
});

/** What a report of a software processor says: CHIP_ID of 64 bytes, on Turin 8 and zeros. */
export function chipIdOf(line: ProductLine): Uint8Array {
  const id = systemRandom(64);
  return tcbLayout(line) === 'turin' ? id.fill(0, 8) : id;
}

export async function snpAuthority(line: SnpLine, { folder = temporaryFolder(), now = () => testTime } = {}) {
  const generation = generationOf[line];
  const authority = await openDevelopmentAuthority({
    folder,
    generation,
    generateKeys: testAuthorityKeys,
    now,
  });
  if (authority.snp === undefined) throw new Error(`${line} has SEV-SNP`);
  return { authority, snp: authority.snp, folder };
}

/** An authority with one chip, endorsed for one TCB version. */
export async function endorsedChip(line: SnpLine, options: Parameters<typeof snpAuthority>[1] = {}) {
  const made = await snpAuthority(line, options);
  const key = await generateP384();
  const chip = { line, chipId: chipIdOf(line), tcb: tcbOf(line) };
  const vcek = await made.snp.endorseVcek({ ...chip, publicKey: key.publicKey });
  return { ...made, key, chip, vcek };
}
