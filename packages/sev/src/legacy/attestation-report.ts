import { type Appraisal, Appraiser, type RootOfTrust } from '../appraisal/appraisal.js';
import { checkTable } from '../appraisal/checks.js';
import { equalBytes, toHex } from '../bytes.js';
import { bigInteger, bytesField, reserved, u32 } from '../codec/fields.js';
import { type Parsed, structure, type ValuesOf } from '../codec/structure.js';
import { type P384PrivateKey, type P384PublicKey, signP384, verifyP384 } from '../crypto/index.js';
import { MalformedError } from '../errors.js';
import { keyAlgorithms, keyUsages } from './certificate.js';
import { parseGuestPolicy } from './policy.js';

const rows = {
  mnonce: bytesField(0x00, 16, 'nonce, as the caller of ATTESTATION gave it'),
  launchDigest: bytesField(0x10, 32, 'SHA-256 over everything launched; zero in a guest that was received'),
  policy: u32(0x30, 'guest policy'),
  signatureUsage: u32(0x34, 'usage of the signing key', { equals: keyUsages.PEK }),
  signatureAlgorithm: u32(0x38, 'algorithm of the signature', { equals: keyAlgorithms['ECDSA-SHA256'] }),
  reserved: reserved(0x3c, 4),
  r: bigInteger(0x40, 72, 48, 'r of the ECDSA P-384 signature'),
  s: bigInteger(0x88, 72, 48, 's of the ECDSA P-384 signature'),
};

/** What the command ATTESTATION returns. Nothing in it names the platform: it is checked with a PEK from a chain. */
export const attestationReport = structure(
  { name: 'attestation report', size: 0xd0, source: 'SEV API 0.24, ATTESTATION' },
  rows,
);

export type AttestationReport = Parsed<ValuesOf<typeof rows>>;

/** @throws MalformedError for another length, another signer than a PEK, or padding that is not zero */
export function parseAttestationReport(bytes: Uint8Array): AttestationReport {
  return attestationReport.parse(bytes);
}

const signedBytes = (report: Uint8Array) => report.subarray(0, attestationReport.offsetOf('signatureUsage'));

export interface BuildReportOptions {
  /** 16 bytes. */
  readonly mnonce: Uint8Array;
  /** 32 bytes. */
  readonly launchDigest: Uint8Array;
  readonly policy: number;
  readonly pek: P384PrivateKey;
}

/**
 * The firmware's side: a signed report, 0xD0 bytes.
 * @throws InvalidArgumentError when a value does not fit its field
 */
export async function buildAttestationReport({ pek, ...claims }: BuildReportOptions): Promise<Uint8Array> {
  const unsigned = { ...claims, r: new Uint8Array(48), s: new Uint8Array(48) };
  const signature = await signP384(pek, 'sha256', signedBytes(attestationReport.build(unsigned)));
  return attestationReport.build({ ...claims, ...signature });
}

export const attestationReportChecks = checkTable({
  'attestation.form': {
    title: 'report is well formed',
    protects: 'bytes that are not a report would be read as one',
    hint: 'ask the host for the 208 bytes that ATTESTATION returned',
    kind: 'authenticity',
  },
  'attestation.signature': {
    title: 'report signed by the platform’s PEK',
    protects: 'anyone could write a report of any guest',
    hint: 'check that the PEK is from the platform that runs the guest, and that its chain was verified',
    kind: 'authenticity',
  },
  'attestation.nonce': {
    title: 'report answers this request',
    protects: 'a host could replay a report of an earlier guest',
    hint: 'ask for a report with the nonce of this request',
    kind: 'authenticity',
  },
  'attestation.digest': {
    title: 'launch digest is the expected one',
    protects: 'the report could be of a guest that was launched from other images',
    hint: 'compute the digest of what was really launched (`vouchsafe digest explain` names what differs)',
    kind: 'expectation',
  },
  'attestation.policy': {
    title: 'policy is the expected one',
    protects: 'the guest could run under a policy that lets its host read it',
    hint: 'launch the guest with the expected policy',
    kind: 'expectation',
  },
});

export interface SevReportExpectations {
  /** The nonce of this request, 16 bytes, drawn by the verifier. */
  readonly mnonce: Uint8Array;
  /** 32 bytes. */
  readonly expectedDigest?: Uint8Array;
  readonly policy?: number;
  /** The root that the PEK's chain led to. */
  readonly root?: RootOfTrust;
}

/**
 * Appraises an attestation report of SEV and SEV-ES. Any user of the host can ask for one with any nonce: it proves what
 * was launched and under which policy, not that the one who hands it over speaks from inside the guest.
 * @param report 0xD0 bytes are expected
 * @param pek key of a PEK certificate whose chain was verified
 * @throws InvalidArgumentError when the expected policy is not a 32-bit word
 */
export async function verifyAttestationReport(
  report: Uint8Array,
  pek: P384PublicKey,
  expectations: SevReportExpectations,
): Promise<Appraisal> {
  const { mnonce, expectedDigest, policy, root } = expectations;
  const appraiser = new Appraiser('attestation report', attestationReportChecks);
  if (policy !== undefined) parseGuestPolicy(policy);
  if (expectedDigest === undefined)
    appraiser.notAsked('attestation.digest', 'name the launch digest that you expect');
  if (policy === undefined) appraiser.notAsked('attestation.policy', 'name the policy that you expect');

  const wellFormed = '208 bytes that name a PEK as their signer';
  let parsed: AttestationReport;
  try {
    parsed = parseAttestationReport(report);
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error;
    appraiser.report('attestation.form', false, { expected: wellFormed, found: error.message });
    appraiser.abandon('the report could not be read');
    return appraiser.finish(root);
  }
  appraiser.report('attestation.form', true, { expected: wellFormed, found: 'the same' });

  const signed = await verifyP384(pek, 'sha256', signedBytes(parsed.raw), parsed);
  appraiser.report('attestation.signature', signed, {
    expected: 'a valid ECDSA signature by the given PEK',
    found: signed ? 'the same' : 'a signature that is not that key’s',
  });
  appraiser.report('attestation.nonce', equalBytes(parsed.mnonce, mnonce), {
    expected: toHex(mnonce),
    found: toHex(parsed.mnonce),
  });
  if (expectedDigest !== undefined) {
    appraiser.report('attestation.digest', equalBytes(parsed.launchDigest, expectedDigest), {
      expected: toHex(expectedDigest),
      found: toHex(parsed.launchDigest),
    });
  }
  if (policy !== undefined) {
    appraiser.report('attestation.policy', parsed.policy === policy, {
      expected: policyText(policy),
      found: policyText(parsed.policy),
    });
  }
  return appraiser.finish(root);
}

const policyText = (word: number) => `0x${word.toString(16)}`;
