import { amdEndorsementRoots, fromBase64, verdict, verifyReport } from '../index.js';

/** One verification as JSON, so that any JavaScript runtime can be handed it. Files are base64. */
export interface PortableCase {
  readonly name: string;
  readonly report: string;
  readonly vek: string;
  readonly certificates: readonly string[];
  readonly at: number;
  readonly allowances: {
    readonly allowDebug?: boolean;
    readonly allowProvisional?: boolean;
  };
}

export interface PortableResult {
  readonly name: string;
  readonly word: string;
  readonly root: string | undefined;
  readonly failed: readonly string[];
}

/** Verifies every case. This file is bundled for browsers and other runtimes, so it uses the package alone. */
export async function verdictsOf(cases: readonly PortableCase[]): Promise<PortableResult[]> {
  return Promise.all(
    cases.map(async ({ name, report, vek, certificates, at, allowances }) => {
      const appraisal = await verifyReport(
        {
          report: fromBase64(report),
          vek: fromBase64(vek),
          certificates: certificates.map((each) => fromBase64(each)),
        },
        { roots: amdEndorsementRoots, revocation: 'skip', at, ...allowances },
      );
      const { word, failed } = verdict(appraisal);
      return { name, word, root: appraisal.root?.name, failed: failed.map(({ id }) => id) };
    }),
  );
}
