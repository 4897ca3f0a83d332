import {
  type AuthorityRole,
  developmentEndorsementRules,
  digest,
  encodePublicKey,
  type NewRevocationList,
  newEndorsementRevocationList,
  type ProductLine,
  type RsaPublicKey,
  type Validity,
} from '@vouchsafe/sev';

/** What a development authority decides for itself; everything else in its certificates is a rule of the root. */

const hour = 3_600_000;
export const day = 24 * hour;
const year = 365 * day;

/** AMD's: 25 years for authorities, 7 for VCEKs, 1 for VLEKs. An hour back, for machines whose clocks differ. */
export function validityFor(of: 'authority' | 'VCEK' | 'VLEK', now: number): Validity {
  const years = { authority: 25, VCEK: 7, VLEK: 1 }[of];
  const notBefore = wholeSecond(now) - hour;
  return { notBefore, notAfter: notBefore + years * year };
}

/** The last two octets are AMD's for the same role; the first says that it is not AMD's. */
export const serials: Readonly<Record<AuthorityRole, bigint>> = {
  ARK: 0xde0000n,
  ASK: 0xde0001n,
  ASVK: 0xde0101n,
};

export interface Revocation {
  readonly role: 'ASK' | 'ASVK';
  /** Milliseconds since 1970, whole seconds. */
  readonly revokedAt: number;
}

/** The list of everything that was revoked, good for a week. Both addresses of the service give the same. */
export async function revocationListOf(
  line: ProductLine,
  revocations: readonly Revocation[],
  ark: RsaPublicKey,
  now: number,
): Promise<NewRevocationList> {
  const thisUpdate = wholeSecond(now);
  return newEndorsementRevocationList(developmentEndorsementRules(line), {
    thisUpdate,
    nextUpdate: thisUpdate + 7 * day,
    revoked: revocations.map(({ role, revokedAt }) => ({ serial: serials[role], revokedAt })),
    // Numbers grow from list to list, whichever process signs it, as the time does.
    number: thisUpdate / 1000,
    issuerKeyId: await keyIdOf(ark),
  });
}

/** 20 bytes that tell keys apart (RFC 7093 section 2). */
export async function keyIdOf(key: RsaPublicKey): Promise<Uint8Array> {
  return (await digest('sha256', encodePublicKey(key))).slice(0, 20);
}

const wholeSecond = (time: number) => Math.floor(time / 1000) * 1000;
