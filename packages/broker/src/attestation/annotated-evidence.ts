import type { RcarRuntimeData } from '@vouchsafe/protocol';
import { trusteeSnpClaims } from '../policy/trustee/attestation-policy.js';
import { trusteeInitDataClaims, validatedIdentifiers } from '../policy/trustee/init-data.js';
import type { SnpClaims } from './claims.js';

/** Characters of init-data that a token carries: it travels in a header. */
const largestInitData = 8 * 1024;

/** The part of a token that says what the evidence was, in Trustee's members, with what Trustee leaves out beside them. */
export function annotatedEvidenceOf(
  claims: SnpClaims,
  runtimeData: RcarRuntimeData,
  additionalEvidence: string,
): { readonly annotatedEvidence: Record<string, unknown>; readonly identifiers: Record<string, unknown> } {
  const { initData, reportData, hostData, guestKey: _, root: _root, ...others } = claims;
  const initDataClaims = initData === undefined ? undefined : trusteeInitDataClaims(initData.data);
  const fits = initDataClaims !== undefined && JSON.stringify(initDataClaims).length <= largestInitData;
  return {
    annotatedEvidence: {
      init_data: initData?.digest ?? hostData,
      ...(fits ? { init_data_claims: initDataClaims } : {}),
      report_data: reportData,
      runtime_data_claims: { ...runtimeData, 'additional-evidence': additionalEvidence },
      snp: trusteeSnpClaims(claims),
      'vouchsafe.snp': others,
    },
    identifiers: initDataClaims === undefined ? {} : { ...validatedIdentifiers(initDataClaims) },
  };
}
