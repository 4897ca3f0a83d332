import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  diffieHellman,
  generateKeyPairSync,
  randomBytes,
  sign,
  verify,
} from 'node:crypto';
import { concat, parseSnpReport, signedBytesOfReport } from '@vouchsafe/sev';
import type { SoftwareChip } from '../software-chip/chip.js';
import { keyObject } from './keys.js';

/** Bytes of what a session leaves behind: its row in the database, and its entries of the record. */
const sizes = { attestation: 6000, evidence: 9000, entry: 600 };

/**
 * The cryptography of one session that no broker can do without, as directly as Node offers it: the report's signature,
 * the token's, the agreement with the guest's key and the sealing of the secret for it; every row and entry of the record
 * sealed, authenticated and linked by a hash. Certificates are verified once for many sessions, and so not here.
 */
export async function sessionCryptography(chip: SoftwareChip): Promise<() => void> {
  const reportData = randomBytes(64);
  const report = parseSnpReport(await chip.report(reportData));
  const reportKey = { key: keyObject(chip.publicKey), dsaEncoding: 'ieee-p1363' } as const;
  const signed = signedBytesOfReport(report);
  const signature = concat(report.signature.r, report.signature.s);
  const p256 = () => generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const [tokenKey, guestKey, rowKey] = [p256().privateKey, p256().publicKey, randomBytes(32)];
  const [body, evidence, entry] = [
    randomBytes(sizes.attestation),
    randomBytes(sizes.evidence),
    randomBytes(sizes.entry),
  ];

  const seal = (key: Uint8Array, bytes: Uint8Array) => {
    const nonce = randomBytes(12);
    const cipher = createCipheriv('aes-256-gcm', key, nonce);
    return { nonce, sealed: concat(cipher.update(bytes), cipher.final()), tag: cipher.getAuthTag() };
  };
  const open = (key: Uint8Array, { nonce, sealed, tag }: ReturnType<typeof seal>) => {
    const cipher = createDecipheriv('aes-256-gcm', key, nonce).setAuthTag(tag);
    return concat(cipher.update(sealed), cipher.final());
  };
  const stored = [evidence, entry, entry].map((bytes) => seal(rowKey, bytes));
  const link = (bytes: Uint8Array) => createHash('sha384').update(seal(rowKey, bytes).sealed).digest();
  const authenticate = (bytes: Uint8Array) => createHmac('sha256', rowKey).update(bytes).digest();

  return () => {
    // Challenge: a cookie, a nonce, a row, an entry.
    randomBytes(48);
    authenticate(entry);
    link(entry);

    // Attestation: what was sent, the report, the token, the row as it was and as it becomes, an entry.
    createHash('sha384').update(body).digest();
    createHash('sha384').update(entry).digest();
    if (!verify('sha384', signed, reportKey, signature))
      throw new Error('the report’s signature is not valid');
    sign('sha256', evidence, { key: tokenKey, dsaEncoding: 'ieee-p1363' });
    authenticate(entry);
    seal(rowKey, evidence);
    seal(rowKey, evidence);
    authenticate(evidence);
    link(evidence);

    // Release: the row, the secret, a decision and a release, and the answer for the guest's key.
    authenticate(evidence);
    for (const each of stored) open(rowKey, each);
    authenticate(entry);
    link(entry);
    link(entry);
    const shared = diffieHellman({ privateKey: p256().privateKey, publicKey: guestKey });
    const wrappingKey = createHash('sha256').update(shared).digest();
    const contentKey = randomBytes(32);
    createCipheriv('id-aes256-wrap', wrappingKey, Buffer.alloc(8, 0xa6)).update(contentKey);
    seal(contentKey, entry);
  };
}
