import { z } from 'zod';
import { strictObject, unsignedMember } from '../members.js';
import { byteListMember, word64Member } from './byte-list.js';

/** The shape of a SEV-SNP guest's evidence: serde's form of the Rust crate `sev`, 6.3 to 7.1, in its order. */

const byte = unsignedMember(8);
const word = unsignedMember(32);

const tcb = strictObject({
  /** On Turin and later only: it says which of the two binary layouts holds. */
  fmc: byte.nullable(),
  bootloader: byte,
  tee: byte,
  snp: byte,
  microcode: byte,
});
const firmwareVersion = strictObject({ major: byte, minor: byte, build: byte });

const report = strictObject({
  version: word,
  guest_svn: word,
  policy: word64Member,
  family_id: byteListMember(16),
  image_id: byteListMember(16),
  vmpl: word,
  sig_algo: word,
  current_tcb: tcb,
  plat_info: word64Member,
  key_info: word,
  report_data: byteListMember(64),
  measurement: byteListMember(48),
  host_data: byteListMember(32),
  id_key_digest: byteListMember(48),
  author_key_digest: byteListMember(48),
  report_id: byteListMember(32),
  report_id_ma: byteListMember(32),
  reported_tcb: tcb,
  /** The combined family of CPUID; null before version 3, as the two after it. */
  cpuid_fam_id: byte.nullish(),
  cpuid_mod_id: byte.nullish(),
  cpuid_step: byte.nullish(),
  chip_id: byteListMember(64),
  committed_tcb: tcb,
  current: firmwareVersion,
  committed: firmwareVersion,
  launch_tcb: tcb,
  /** Null or absent before version 5. */
  launch_mit_vector: word64Member.nullish(),
  current_mit_vector: word64Member.nullish(),
  /** Little-endian, 48 bytes and zeros, as in the report. */
  signature: strictObject({ r: signaturePart(), s: signaturePart() }),
});

const certificateKind = z.union(
  [
    z.enum(['Empty', 'ARK', 'ASK', 'VCEK', 'VLEK', 'CRL']),
    strictObject({
      OTHER: z
        .string({ error: 'expected a GUID' })
        .regex(/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, { error: 'expected a GUID' }),
    }),
  ],
  { error: 'expected a kind of certificate' },
);

/** More than the largest certificate or revocation list that AMD issues. */
const largestCertificate = 64 * 1024;
const mostCertificates = 16;

export const snpEvidenceSchema = strictObject({
  attestation_report: report,
  cert_chain: z
    .array(strictObject({ cert_type: certificateKind, data: byteListMember(0, largestCertificate) }), {
      error: 'expected a list or null',
    })
    .max(mostCertificates, { error: `expected at most ${mostCertificates} certificates` })
    .nullish(),
});
export type SnpEvidenceJson = z.output<typeof snpEvidenceSchema>;

function signaturePart() {
  return byteListMember(72).refine((bytes) => bytes.subarray(48).every((value) => value === 0), {
    error: 'expected zeros after 48 bytes',
  });
}
