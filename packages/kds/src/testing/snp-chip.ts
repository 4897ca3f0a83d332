import {
  developmentEndorsementRules,
  encodeCertificate,
  generateP384,
  newAuthorityCertificate,
  newVekCertificate,
  type ProductLine,
  systemRandom,
  type TcbVersion,
  tcbLayout,
} from '@vouchsafe/sev';
import { rsaPublicKeyOf, signPss } from '../authority-keys.js';
import { openDevelopmentAuthority } from '../development-authority.js';
import { keyIdOf } from '../snp/authority-certificates.js';
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

/** Names of another product line over certificates of Milan, signed with the right key: what only names can tell. */
export async function misnamed() {
  const { ark, ask } = await testAuthorityKeys('milan');
  const [rules, others] = [developmentEndorsementRules('Milan'), developmentEndorsementRules('Genoa')];
  const validity = { notBefore: testTime - day, notAfter: testTime + day };
  const publicKey = rsaPublicKeyOf('milan', ask);
  const [keyId, issuerKeyId] = [await keyIdOf(publicKey), await keyIdOf(rsaPublicKeyOf('milan', ark))];
  const fields = newAuthorityCertificate(rules, {
    role: 'ASK',
    serial: 7n,
    publicKey,
    keyId,
    issuerKeyId,
    ...validity,
  });
  const issuer = others.authorities.ARK.subject;
  return {
    /** An ASK of Milan that names the ARK of Genoa as its issuer. */
    ask: await encodeCertificate({ ...fields, issuer }, (bytes) => signPss('milan', ark, bytes)),
    /** A VCEK of Milan that names the ASK of Genoa as its issuer. */
    async vcek(chip: { line: 'Milan'; chipId: Uint8Array; tcb: TcbVersion }) {
      const vek = {
        kind: 'VCEK',
        productName: 'Milan-B0',
        hwid: chip.chipId,
        line: chip.line,
        tcb: chip.tcb,
      } as const;
      const { publicKey: key } = await generateP384();
      const certificate = newVekCertificate(others, { vek, publicKey: key, ...validity });
      return encodeCertificate(certificate, (bytes) => signPss('milan', ask, bytes));
    },
  };
}

/** An authority with one chip, endorsed for one TCB version. */
export async function endorsedChip(line: SnpLine, options: Parameters<typeof snpAuthority>[1] = {}) {
  const made = await snpAuthority(line, options);
  const key = await generateP384();
  const chip = { line, chipId: chipIdOf(line), tcb: tcbOf(line) };
  const vcek = await made.snp.endorseVcek({ ...chip, publicKey: key.publicKey });
  return { ...made, key, chip, vcek };
}
