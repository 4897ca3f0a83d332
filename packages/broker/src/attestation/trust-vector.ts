import { type Appraisal, verdict } from '@vouchsafe/sev';
import type { DemandCheck } from '../policy/demands.js';
import type { TrustVector } from '../token/trust-vector.js';
import type { SnpClaims } from './claims.js';

/** Values of AR4SI (draft-ietf-rats-ar4si-10, section 2.3.4) that this broker gives. */
export const trustValues = {
  /** Hardware: genuine and supported. */
  genuine: 2,
  /** Hardware: genuine, with known holes or of unknown standing. */
  vulnerable: 32,
  /** Hardware: not recognised. What a development root endorses is never more. */
  unrecognisedHardware: 97,
  /** Executables: only ones that are known and approved. */
  approved: 3,
  /** Executables: not recognised. */
  unrecognised: 33,
  /** Configuration: without known holes. */
  harmless: 3,
  /** Configuration: exposes what it should not. */
  exposed: 36,
} as const;

/** What an EAR token says of a guest, from the claims that were compared with reference values. */
export function trustVectorOf(claims: SnpClaims, demands: Appraisal): TrustVector {
  const failed = new Set(verdict(demands).failed.map(({ id }) => id as DemandCheck));
  const passed = new Set(demands.checks.filter(({ status }) => status === 'pass').map(({ id }) => id));
  const standing = !failed.has('demand.revocation') && !failed.has('demand.tcb');
  const known =
    passed.has('demand.measurement') &&
    passed.has('demand.reference-validity') &&
    !failed.has('demand.id-key') &&
    !failed.has('demand.host-data');
  return cappedByRoot(claims, {
    hardware: standing ? trustValues.genuine : trustValues.vulnerable,
    executables: known ? trustValues.approved : trustValues.unrecognised,
    configuration:
      claims.policy.debug || claims.policy.migrationAgent ? trustValues.exposed : trustValues.harmless,
  });
}

/** Hardware that AMD's root does not vouch for is never affirmed, whatever else is known of it. */
export function cappedByRoot({ root }: Pick<SnpClaims, 'root'>, vector: TrustVector): TrustVector {
  return root?.kind === 'amd' ? vector : { ...vector, hardware: trustValues.unrecognisedHardware };
}
