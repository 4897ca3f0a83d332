import { bigInteger, bitsField, bytesField, named, reserved, u8, u32, u64 } from '../codec/fields.js';
import { structure } from '../codec/structure.js';
import { snpGuestPolicyBits } from './guest-policy.js';
import { snpPlatformInfoBits } from './platform-info.js';
import { signerInfoBits } from './signer-info.js';

/** How a report is signed. */
export const snpSignatureAlgorithms = { INVALID: 0, 'ECDSA-P384-SHA384': 1 } as const;
export type SnpSignatureAlgorithm = keyof typeof snpSignatureAlgorithms;

/** The rows of every version. */
const rows = (found: 'refuse' | 'report') => ({
  guestSvn: u32(0x004, 'security version of the guest, from its ID block; zero without one'),
  policy: bitsField(0x008, snpGuestPolicyBits, 'what the guest’s owner lets the host do'),
  familyId: bytesField(0x010, 16, 'family of the guest, from its ID block; zero without one'),
  imageId: bytesField(0x020, 16, 'image of the guest, from its ID block; zero without one'),
  vmpl: u32(
    0x030,
    'privilege level that the report was asked for, 0 the highest; 0xffffffff: asked by the host',
  ),
  signatureAlgorithm: named(0x034, 4, snpSignatureAlgorithms, 'how the report is signed'),
  currentTcb: bytesField(0x038, 8, 'TCB version that runs'),
  platformInfo: bitsField(0x040, snpPlatformInfoBits, 'how the machine is set up'),
  signerInfo: bitsField(0x048, signerInfoBits, 'which key signed, and whether an author key was used'),
  reserved04c: reserved(0x04c, 4, found),
  reportData: bytesField(0x050, 64, 'what the guest put in: a nonce or the digest of a key'),
  measurement: bytesField(
    0x090,
    48,
    'launch digest: SHA-384 chain over everything that the guest started with',
  ),
  hostData: bytesField(0x0c0, 32, 'what the host put in at launch'),
  idKeyDigest: bytesField(0x0e0, 48, 'SHA-384 of the key that signed the ID block; zero without one'),
  authorKeyDigest: bytesField(0x110, 48, 'SHA-384 of the key that signed the ID key; zero without one'),
  reportId: bytesField(0x140, 32, 'random, the same for the life of this guest'),
  reportIdMa: bytesField(0x160, 32, 'report id of the migration agent; all ones without one'),
  reportedTcb: bytesField(0x180, 8, 'TCB version that the signing key is derived for'),
  chipId: bytesField(0x1a0, 64, 'the chip; zero when the host masks it; 8 bytes and zeros since Turin'),
  committedTcb: bytesField(0x1e0, 8, 'TCB version below which the firmware cannot be rolled back'),
  currentBuild: u8(0x1e8, 'build of the firmware that runs'),
  currentMinor: u8(0x1e9, 'minor version of the firmware that runs'),
  currentMajor: u8(0x1ea, 'major version of the firmware that runs'),
  reserved1eb: reserved(0x1eb, 1, found),
  committedBuild: u8(0x1ec, 'build of the committed firmware'),
  committedMinor: u8(0x1ed, 'minor version of the committed firmware'),
  committedMajor: u8(0x1ee, 'major version of the committed firmware'),
  reserved1ef: reserved(0x1ef, 1, found),
  launchTcb: bytesField(0x1f0, 8, 'TCB version that ran when the guest was launched or imported'),
  r: bigInteger(0x2a0, 72, 48, 'r of the ECDSA P-384 signature'),
  s: bigInteger(0x2e8, 72, 48, 's of the ECDSA P-384 signature'),
  reserved330: reserved(0x330, 368, found),
});

const cpuidRows = (found: 'refuse' | 'report') => ({
  cpuidFamily: u8(0x188, 'CPUID family of the processor, base and extended combined'),
  cpuidModel: u8(0x189, 'CPUID model of the processor, base and extended combined'),
  cpuidStepping: u8(0x18a, 'CPUID stepping of the processor'),
  reserved18b: reserved(0x18b, 21, found),
});

const mitigationRows = (found: 'refuse' | 'report') => ({
  launchMitigationVector: u64(0x1f8, 'mitigations that were verified when the guest was launched'),
  currentMitigationVector: u64(0x200, 'mitigations that are verified now'),
  reserved208: reserved(0x208, 152, found),
});

const reportLayout = <const R extends Record<string, unknown>>(versions: string, table: R) =>
  structure(
    {
      name: `SNP attestation report, ${versions}`,
      size: 0x4a0,
      source: 'SEV-SNP firmware ABI, ATTESTATION_REPORT',
    },
    table,
  );

/** The attestation report by version. What version 4 added was never published; it is read as version 3. */
export const snpReports = {
  v2: reportLayout('version 2', {
    version: u32(0x000, 'version of this format', { equals: 2 }),
    ...rows('refuse'),
    reserved188: reserved(0x188, 24),
    reserved1f8: reserved(0x1f8, 168),
  }),
  v3: reportLayout('versions 3 and 4', {
    version: u32(0x000, 'version of this format: 3 or 4'),
    ...rows('refuse'),
    ...cpuidRows('refuse'),
    reserved1f8: reserved(0x1f8, 168),
  }),
  v5: reportLayout('version 5', {
    version: u32(0x000, 'version of this format', { equals: 5 }),
    ...rows('refuse'),
    ...cpuidRows('refuse'),
    ...mitigationRows('refuse'),
  }),
  /** Read as version 5 when the caller asks for it; what stands in reserved bytes is reported. */
  newer: reportLayout('newer than version 5', {
    version: u32(0x000, 'version of this format'),
    ...rows('report'),
    ...cpuidRows('report'),
    ...mitigationRows('report'),
  }),
};
