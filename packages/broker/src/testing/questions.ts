import type { SnpClaims } from '../attestation/claims.js';
import type { PolicyQuestion } from '../policy/release-policy.js';

/** One digit, as often as a digest of so many bytes has it. */
export const hex = (bytes: number, digit: string): string => digit.repeat(bytes * 2);

/** Noon of a day in November 2026. */
export const testNow = Date.parse('2026-11-15T12:00:00Z');

/** Claims of a guest that nobody would refuse, but for what a test changes. */
export function someClaims(changes: Partial<SnpClaims> = {}): SnpClaims {
  const tcb = { bootloader: 4, tee: 0, snp: 24, microcode: 219 };
  return {
    tee: 'snp',
    root: { name: 'AMD, Milan', kind: 'amd', fingerprint: hex(32, '6') },
    revocation: { status: 'good', asOf: new Date(testNow).toISOString() },
    reportVersion: 3,
    measurement: hex(48, 'a'),
    reportData: hex(64, 'd'),
    hostData: hex(32, '5'),
    familyId: hex(16, '0'),
    imageId: hex(16, '0'),
    guestSvn: 1,
    vmpl: 0,
    idKeyDigest: hex(48, '1'),
    policy: {
      abiMajor: 1,
      abiMinor: 51,
      smt: true,
      migrationAgent: false,
      debug: false,
      singleSocket: false,
      cxlAllowed: false,
      aes256Xts: false,
      raplDisabled: false,
      ciphertextHiding: false,
      pageSwapDisabled: false,
    },
    platform: {
      smtEnabled: true,
      tsmeEnabled: false,
      eccEnabled: true,
      raplDisabled: false,
      ciphertextHidingEnabled: false,
      aliasCheckComplete: true,
      tioEnabled: false,
    },
    tcb: { reported: tcb, committed: tcb, current: tcb, launch: tcb },
    firmware: { current: '1.55.29', committed: '1.55.29' },
    signer: { kind: 'VCEK', authorKeyEnabled: false, maskChipKey: false },
    productLine: 'Milan',
    chipId: hex(64, 'c'),
    reportId: hex(32, '2'),
    ...changes,
  };
}

/** A question about `app/key/disk`. */
export function someQuestion(changes: Partial<PolicyQuestion> = {}): PolicyQuestion {
  return {
    claims: someClaims(),
    references: [],
    resource: { repository: 'app', type: 'key', tag: 'disk' },
    otherMachines: 0,
    now: testNow,
    tokenClaims: {},
    ...changes,
  };
}
