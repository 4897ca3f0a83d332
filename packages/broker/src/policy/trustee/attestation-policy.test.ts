import { parseInitData } from '@vouchsafe/protocol';
import { describe, expect, it } from 'vitest';
import { describeWithVectors, vectors } from '../../../../sev/src/testing/vectors.js';
import { hex, someClaims } from '../../testing/questions.js';
import { trusteeSnpClaims, trusteeTrustVector } from './attestation-policy.js';
import { trusteeInitDataClaims, validatedIdentifiers } from './init-data.js';

/** Reference values that every claim of `someClaims` fits. */
const values: Readonly<Record<string, unknown>> = {
  snp_launch_measurement: [hex(48, 'b'), hex(48, 'a')],
  snp_bootloader: [3, 4],
  snp_microcode: [219],
  snp_snp_svn: [24],
  snp_tee_svn: [0],
  snp_smt_enabled: true,
  snp_tsme_enabled: false,
  snp_guest_abi_major: 1,
  snp_guest_abi_minor: 51,
  snp_single_socket: false,
  snp_smt_allowed: true,
};

const vectorOf = (claims = someClaims(), changes: Readonly<Record<string, unknown>> = {}) => {
  const all: Readonly<Record<string, unknown>> = { ...values, ...changes };
  const { executables, hardware, configuration } = trusteeTrustVector(claims, (name) => all[name]);
  return [executables, hardware, configuration];
};

describe('Trustee’s default attestation policy', () => {
  it('affirms a guest that is known in every way, and asserts nothing else', () => {
    expect(trusteeTrustVector(someClaims(), (name) => values[name])).toEqual({
      executables: 3,
      hardware: 2,
      configuration: 2,
      'file-system': 0,
      'instance-identity': 0,
      'runtime-opaque': 0,
      'storage-opaque': 0,
      'sourced-data': 0,
    });
  });

  it('knows nothing without reference values, but sees harmless settings', () => {
    expect(Object.values(trusteeTrustVector(someClaims(), () => undefined)).slice(0, 3)).toEqual([33, 97, 3]);
  });

  // Every row was answered by OPA 0.70 as well.
  it.each<[string, Readonly<Record<string, unknown>>, readonly number[]]>([
    ['another measurement', { snp_launch_measurement: [hex(48, 'b')] }, [33, 2, 2]],
    ['a measurement that is no list', { snp_launch_measurement: hex(48, 'a') }, [33, 2, 2]],
    ['measurements by name', { snp_launch_measurement: { web: hex(48, 'a') } }, [3, 2, 2]],
    ['a newer bootloader', { snp_bootloader: [3] }, [3, 97, 2]],
    ['another microcode', { snp_microcode: [218] }, [3, 97, 2]],
    ['another SNP firmware', { snp_snp_svn: [] }, [3, 97, 2]],
    ['another TEE', { snp_tee_svn: undefined }, [3, 97, 2]],
    ['a number as text', { snp_snp_svn: ['24'] }, [3, 97, 2]],
    ['SMT that should be off', { snp_smt_enabled: false }, [3, 2, 3]],
    ['TSME that should be on', { snp_tsme_enabled: true }, [3, 2, 3]],
    ['another ABI', { snp_guest_abi_major: 2 }, [3, 2, 3]],
    ['another minor ABI', { snp_guest_abi_minor: 52 }, [3, 2, 3]],
    ['a single socket', { snp_single_socket: true }, [3, 2, 3]],
    ['SMT that should not be allowed', { snp_smt_allowed: false }, [3, 2, 3]],
    ['a setting in a list', { snp_smt_enabled: [true] }, [3, 2, 3]],
  ])('judges %s', (_, changes, expected) => {
    expect(vectorOf(someClaims(), changes)).toEqual(expected);
  });

  it.each(['debug', 'migrationAgent'] as const)('warns of a guest that allows %s', (flag) => {
    const claims = someClaims();
    expect(vectorOf({ ...claims, policy: { ...claims.policy, [flag]: true } })).toEqual([3, 2, 36]);
  });

  it('is given the claims by Trustee’s names', () => {
    expect(trusteeSnpClaims(someClaims())).toEqual({
      policy_abi_major: 1,
      policy_abi_minor: 51,
      policy_smt_allowed: true,
      policy_migrate_ma: false,
      policy_debug_allowed: false,
      policy_single_socket: false,
      reported_tcb_bootloader: 4,
      reported_tcb_tee: 0,
      reported_tcb_snp: 24,
      reported_tcb_microcode: 219,
      platform_tsme_enabled: false,
      platform_smt_enabled: true,
      measurement: hex(48, 'a'),
      chip_id: hex(64, 'c'),
    });
  });
});

describe('claims of init-data', () => {
  it('are objects where the files are TOML, and text where they are not', () => {
    expect(
      trusteeInitDataClaims({ 'aa.toml': 'a = 1', 'cdh.toml': 'not = = toml', 'other.toml': 'a = 1' }),
    ).toEqual({ 'aa.toml': { a: 1 }, 'cdh.toml': 'not = = toml', 'other.toml': 'a = 1' });
  });

  it.each(['package p', 'policy_data := {"a":1', 'policy_data := {"a":1,"a":2}', 'policy_data := {} # more'])(
    'leave an agent policy that does not end with JSON as text: %s',
    (text) => {
      expect(trusteeInitDataClaims({ 'policy.rego': text })).toEqual({ 'policy.rego': text });
    },
  );

  it.each([{}, { agent_policy_claims: null }, { agent_policy_claims: { containers: 'none' } }])(
    'validate nothing where no container is named: %j',
    (claims) => {
      expect(validatedIdentifiers(claims)).toEqual({});
    },
  );
});

describeWithVectors('init-data of Kata', () => {
  it('names the images and users that the agent’s policy admits', () => {
    const text = new TextDecoder().decode(vectors('kbs/initdata/init-data-with-policy.toml'));
    const claims = trusteeInitDataClaims(parseInitData(text).data);
    expect(Object.keys(claims)).toEqual(['agent_policy_claims']);
    const { container_images: images, container_uids: uids } = validatedIdentifiers(claims);
    expect(images).toMatchInlineSnapshot(`
      [
        "bitnami/nginx:latest",
      ]
    `);
    expect(uids).toMatchInlineSnapshot(`
      [
        65535,
        1001,
      ]
    `);
  });
});
