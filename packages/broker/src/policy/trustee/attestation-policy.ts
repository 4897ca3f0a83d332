import type { SnpClaims } from '../../attestation/claims.js';
import type { TrustVector } from '../../token/trust-vector.js';

/** Claims of a report by the names that Trustee's verifier gives them. */
export function trusteeSnpClaims({ policy, platform, tcb, ...claims }: SnpClaims) {
  return {
    policy_abi_major: policy.abiMajor,
    policy_abi_minor: policy.abiMinor,
    policy_smt_allowed: policy.smt,
    policy_migrate_ma: policy.migrationAgent,
    policy_debug_allowed: policy.debug,
    policy_single_socket: policy.singleSocket,
    reported_tcb_bootloader: tcb.reported.bootloader,
    reported_tcb_tee: tcb.reported.tee,
    reported_tcb_snp: tcb.reported.snp,
    reported_tcb_microcode: tcb.reported.microcode,
    platform_tsme_enabled: platform.tsmeEnabled,
    platform_smt_enabled: platform.smtEnabled,
    measurement: claims.measurement,
    ...(claims.chipId === undefined ? {} : { chip_id: claims.chipId }),
  };
}

/**
 * What Trustee's default attestation policy makes of an SNP guest: executables 3 for a known measurement, hardware 2 for
 * a known TCB, configuration 2 for known settings or 3 for harmless ones, and otherwise 33, 97 and 36. TCB parts are
 * members of lists there, not floors.
 * @param referenceValue the reference value of a name; undefined when there is none
 */
export function trusteeTrustVector(
  claims: SnpClaims,
  referenceValue: (name: string) => unknown,
): TrustVector {
  const snp = trusteeSnpClaims(claims);
  const listed = (found: unknown, name: string) => isMember(found, referenceValue(name));
  const equal = (found: unknown, name: string) => found === referenceValue(name);
  const hardware =
    listed(snp.reported_tcb_bootloader, 'snp_bootloader') &&
    listed(snp.reported_tcb_microcode, 'snp_microcode') &&
    listed(snp.reported_tcb_snp, 'snp_snp_svn') &&
    listed(snp.reported_tcb_tee, 'snp_tee_svn');
  const harmless = !snp.policy_debug_allowed && !snp.policy_migrate_ma;
  const known =
    equal(snp.platform_smt_enabled, 'snp_smt_enabled') &&
    equal(snp.platform_tsme_enabled, 'snp_tsme_enabled') &&
    equal(snp.policy_abi_major, 'snp_guest_abi_major') &&
    equal(snp.policy_abi_minor, 'snp_guest_abi_minor') &&
    equal(snp.policy_single_socket, 'snp_single_socket') &&
    equal(snp.policy_smt_allowed, 'snp_smt_allowed');
  const harmlessConfiguration = known ? 2 : 3;
  return {
    executables: listed(snp.measurement, 'snp_launch_measurement') ? 3 : 33,
    hardware: hardware ? 2 : 97,
    configuration: harmless ? harmlessConfiguration : 36,
    'file-system': 0,
    'instance-identity': 0,
    'runtime-opaque': 0,
    'storage-opaque': 0,
    'sourced-data': 0,
  };
}

/** `x in y` of Rego: among the items of a list, or the values of an object; of anything else nothing is a member. */
function isMember(found: unknown, collection: unknown): boolean {
  return typeof collection === 'object' && collection !== null && Object.values(collection).includes(found);
}
