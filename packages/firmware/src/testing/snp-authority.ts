import { openDevelopmentAuthority } from '@vouchsafe/kds';
import {
  amdEndorsementRoots,
  type EndorsementRoot,
  type Generation,
  type ReportAllowances,
  type ReportExpectations,
  reportResponse,
  type Secret,
  type TcbVersion,
  verdict,
  verifyReport,
} from '@vouchsafe/sev';
import { testAuthorityKeys } from '../../../kds/src/testing/authority-keys.js';
import { temporaryFolder } from '../../../kds/src/testing/temporary.js';
import type { Chip } from '../identity/chip.js';
import { vcekEndorsementRequest } from '../identity/vcek.js';
import { vlekEndorsementRequest } from '../identity/vlek.js';
import { machineProfiles } from '../profiles.js';

export const day = Date.parse('2031-03-01T12:00:00Z');

/** The development authority that stands in AMD's place for the chips of a test. */
export async function snpTestAuthority(generation: Generation) {
  const authority = await openDevelopmentAuthority({
    folder: temporaryFolder(),
    generation,
    generateKeys: testAuthorityKeys,
    now: () => day,
  });
  const snp = authority.snp!;
  const { line } = machineProfiles[generation].snp!;
  return {
    snp,
    root: snp.root,
    vcek: (chip: Chip, tcb: TcbVersion) => snp.endorseVcek(vcekEndorsementRequest(chip, tcb)),
    vlek: (hashstick: Secret, tcb: TcbVersion) =>
      snp.endorseVlek(vlekEndorsementRequest(hashstick, line, tcb)),
  };
}

export type SnpTestAuthority = Awaited<ReturnType<typeof snpTestAuthority>>;

/** What a client does with AMD's reports, and with AMD's options but for the root. */
export async function verifiedBy(
  authority: SnpTestAuthority,
  evidence: { readonly report: Uint8Array; readonly vek: Uint8Array },
  options: ReportAllowances & {
    readonly expectations?: ReportExpectations;
    readonly roots?: readonly EndorsementRoot[];
  } = {},
) {
  const { snp } = authority;
  const { roots = [authority.root], ...rest } = options;
  const crl = await snp.findEndorsement({ what: 'crl', kind: 'VCEK', line: snp.line });
  const appraisal = await verifyReport(
    { ...evidence, certificates: [snp.ask, await snp.asvk(), snp.ark], crls: [crl!] },
    { roots, at: day, revocation: 'require', ...rest },
  );
  const { word, failed } = verdict(appraisal);
  return { word, failed: failed.map(({ id }) => id), root: appraisal.root };
}

export const underAmdsRoots = { roots: amdEndorsementRoots } as const;

export function reportIn(payload: Uint8Array): { readonly status: number; readonly report: Uint8Array } {
  const { status, report } = reportResponse.parse(payload);
  return { status, report };
}
