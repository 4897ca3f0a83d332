import { type Appraisal, Appraiser } from '../appraisal/appraisal.js';
import { checkTable } from '../appraisal/checks.js';
import { VouchsafeError } from '../errors.js';
import {
  type ParseSnpReportOptions,
  parseSnpReport,
  type SnpAttestationReport,
} from './attestation-report.js';
import { appraiseExpectations } from './expectation-appraisal.js';
import { type ReportExpectations, requireExpectations } from './expectations.js';
import {
  appraiseSafety,
  appraiseSignature,
  type ReportAllowances,
  reportOnLine,
} from './report-appraisal.js';
import { reportEvidenceChecks, reportExpectationChecks, reportSafetyChecks } from './report-checks.js';
import {
  endorse,
  repeatChecks,
  reportEndorsementChecks,
  type SnpEndorsements,
  type VerifiedEndorsement,
} from './verified-endorsement.js';
import { type EndorsementOptions, rootOfTrust } from './verify-endorsement.js';

/** Every check of {@link verifyReport}, from the root to what the caller expects. */
export const snpReportChecks = checkTable({
  ...reportEndorsementChecks,
  ...reportEvidenceChecks,
  ...reportSafetyChecks,
  ...reportExpectationChecks,
});
export type SnpReportCheck = keyof typeof snpReportChecks;

/** A report with everything that it is verified with. */
export interface SnpEvidence extends SnpEndorsements {
  /** The 1184 bytes of an attestation report. `findSnpReport` takes it out of what it is wrapped in. */
  readonly report: Uint8Array;
}

export interface AppraiseReportOptions extends ReportAllowances {
  /** The date to verify at, milliseconds since 1970. */
  readonly at: number;
  /** What the caller wants. Left out, an accepted report is authentic and no more. */
  readonly expectations?: ReportExpectations | undefined;
  /** Reads versions of the report that are not published yet as the newest that is. */
  readonly acceptNewerVersions?: boolean | undefined;
}

export interface VerifyReportOptions extends AppraiseReportOptions, EndorsementOptions {}

/**
 * Verifies an attestation report: its certificates down to a root that the caller trusts, its signature, what no careful
 * owner would want, and what this caller expects. Whatever is wrong with the evidence, malformed bytes too, is a failed
 * check of the Appraisal, and never an exception. Nothing is fetched: what is missing fails.
 * @throws InvalidArgumentError for a date that is none, or expectations that cannot be meant
 */
export async function verifyReport(evidence: SnpEvidence, options: VerifyReportOptions): Promise<Appraisal> {
  const { roots, at, revocation, ...rest } = options;
  const signingKey = readReport(evidence.report, options).report?.signerInfo.signingKey;
  const kind = signingKey === 'none' ? undefined : signingKey;
  const endorsement = await endorse(evidence, { roots, at, revocation }, kind);
  return appraiseReport(evidence.report, endorsement, { at, ...rest });
}

/**
 * The same with an endorsement that the caller keeps, for many reports by one VEK: a report costs its signature and
 * little more. Where `at` makes a difference to the endorsement, that is verified anew.
 * @throws InvalidArgumentError
 */
export async function appraiseReport(
  report: Uint8Array,
  endorsement: VerifiedEndorsement,
  options: AppraiseReportOptions,
): Promise<Appraisal> {
  const { expectations = {} } = options;
  requireExpectations(expectations);
  const { appraisal, root, vek, publicKey } = await endorsement.at(options.at);
  const appraiser = new Appraiser('SEV-SNP attestation report', snpReportChecks);
  repeatChecks(appraisal.checks, appraiser);

  const { report: parsed, fault = 'nothing wrong' } = readReport(report, options);
  const format = { expected: 'an attestation report', found: parsed ? `version ${parsed.version}` : fault };
  appraiser.report('report.format', parsed !== undefined, format);
  if (parsed === undefined) {
    appraiser.abandon('a report that could not be read');
    return appraiser.finish();
  }

  const line = vek && reportOnLine(parsed, vek, appraiser);
  const { read = parsed, lineFits = false } = line ?? {};
  const signed = vek && publicKey && appraiseSignature(read, vek, publicKey, appraiser);
  appraiseSafety(read, options, appraiser);
  appraiseExpectations(expectations, read, vek, appraiser);
  const genuine = (await signed) === true && lineFits;
  appraiser.abandon('no certificate that it could be compared with');
  return appraiser.finish(genuine && root !== undefined ? rootOfTrust(root) : undefined);
}

function readReport(
  bytes: Uint8Array,
  { acceptNewerVersions = false }: Pick<AppraiseReportOptions, 'acceptNewerVersions'>,
): { readonly report?: SnpAttestationReport; readonly fault?: string } {
  const options: ParseSnpReportOptions = { acceptNewerVersions };
  try {
    return { report: parseSnpReport(bytes, options) };
  } catch (error) {
    if (!(error instanceof VouchsafeError)) throw error;
    return { fault: error.message };
  }
}
