import {
  type Appraisal,
  amdEndorsementRoots,
  developmentEndorsementRoot,
  type EndorsementRoot,
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

/** Verifies the report among the files with everything else among them; undefined when there is none. */
export async function verifyFiles(
  files: readonly Recognised[],
  { trustDevelopmentRoot, ...wishes }: Wishes,
): Promise<Appraisal | undefined> {
  const of = <K extends Recognised['kind']>(kind: K) =>
    files.filter((file): file is Extract<Recognised, { kind: K }> => file.kind === kind);
  const [found] = of('report');
  if (found === undefined) return undefined;
  const given = of('certificates');
  const certificateTable = of('certificate table')[0]?.bytes ?? found.certificateTable;
  const policy = of('policy')[0]?.policy;
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
