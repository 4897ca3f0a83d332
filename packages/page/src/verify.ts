import {
  type Appraisal,
  amdEndorsementRoots,
  developmentEndorsementRoot,
  type EndorsementRoot,
  InvalidArgumentError,
  VouchsafeError,
  verifyReport,
  type X509Certificate,
} from '@vouchsafe/sev';
import type { Recognised } from './files.js';

export interface Wishes {
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly allowDebug: boolean;
  readonly allowMigrationAgent: boolean;
  readonly allowProvisional: boolean;
  /** Trusts a development root among the files, and no other. */
  readonly trustDevelopmentRoot: boolean;
}

/**
 * Verifies the report among the files with everything else among them; undefined when there is none.
 * @throws InvalidArgumentError for two reports, or two of what one report is compared with: a verdict would be over the
 * other one
 */
export async function verifyFiles(
  files: readonly Recognised[],
  { trustDevelopmentRoot, ...wishes }: Wishes,
): Promise<Appraisal | undefined> {
  const of = <K extends Recognised['kind']>(kind: K) =>
    files.filter((file): file is Extract<Recognised, { kind: K }> => file.kind === kind);
  const only = <K extends Recognised['kind']>(kind: K) => {
    const found = of(kind);
    if (found.length < 2) return found[0];
    throw new InvalidArgumentError(
      'files',
      `expected one ${kind}, found ${found.length}; start over with one`,
    );
  };
  const found = only('report');
  if (found === undefined) return undefined;
  const given = of('certificates');
  const certificateTable = only('certificate table')?.bytes ?? found.certificateTable;
  const policy = only('policy')?.policy;
  const evidence = {
    report: found.report,
    certificates: given.map(({ bytes }) => bytes),
    crls: of('revocation list').map(({ bytes }) => bytes),
    ...(certificateTable === undefined ? {} : { certificateTable }),
  };
  const roots = trustDevelopmentRoot
    ? await developmentRoots(given.flatMap(({ certificates }) => certificates))
    : amdEndorsementRoots;
  return verifyReport(evidence, {
    roots,
    revocation: 'if-available',
    at: wishes.at,
    expectations: policy?.expectations,
    allowDebug: wishes.allowDebug || policy?.allowDebug,
    allowMigrationAgent: wishes.allowMigrationAgent || policy?.allowMigrationAgent,
    allowProvisional: wishes.allowProvisional || policy?.allowProvisional,
  });
}

async function developmentRoots(certificates: readonly X509Certificate[]): Promise<EndorsementRoot[]> {
  const roots: EndorsementRoot[] = [];
  for (const { raw } of certificates) {
    try {
      roots.push(await developmentEndorsementRoot(raw));
    } catch (error) {
      if (!(error instanceof VouchsafeError)) throw error;
    }
  }
  return roots;
}
