import { describe, expect, test } from 'vitest';
import { type Appraisal, verdict } from '../appraisal/appraisal.js';
import { generateP384 } from '../crypto/index.js';
import { InvalidArgumentError, MalformedError } from '../errors.js';
import { changed } from '../testing/mutations.js';
import {
  attestationReport,
  buildAttestationReport,
  parseAttestationReport,
  verifyAttestationReport,
} from './attestation-report.js';

const pek = await generateP384();
const mnonce = new Uint8Array(16).fill(1);
const launchDigest = new Uint8Array(32).fill(2);
const policy = 0x37010005;
const report = await buildAttestationReport({ pek, mnonce, launchDigest, policy });
const failed = (appraisal: Appraisal) => verdict(appraisal).failed.map(({ id }) => id);

describe('attestation report', () => {
  test('is accepted with its PEK, nonce, digest and policy', async () => {
    const appraisal = await verifyAttestationReport(report, pek.publicKey, {
      mnonce,
      expectedDigest: launchDigest,
      policy,
    });
    expect(verdict(appraisal).word).toBe('accepted');
  });

  test('compared with no expectation it is authentic, no more', async () => {
    const appraisal = await verifyAttestationReport(report, pek.publicKey, { mnonce });
    expect(verdict(appraisal).word).toBe('authentic');
  });

  test('says what it was compared with when it differs', async () => {
    const other = new Uint8Array(32);
    const appraisal = await verifyAttestationReport(report, pek.publicKey, {
      mnonce: new Uint8Array(16),
      expectedDigest: other,
      policy: 1,
    });
    expect(failed(appraisal)).toEqual(['attestation.nonce', 'attestation.digest', 'attestation.policy']);
  });

  test('is refused under another PEK, and under one that is not on the curve', async () => {
    const other = await generateP384();
    const nowhere = { x: pek.publicKey.x, y: new Uint8Array(48) };
    for (const key of [other.publicKey, nowhere]) {
      const appraisal = await verifyAttestationReport(report, key, { mnonce });
      expect(failed(appraisal)).toEqual(['attestation.signature']);
    }
  });

  test('any one changed byte is refused', async () => {
    const expectations = { mnonce, expectedDigest: launchDigest, policy };
    for (let at = 0; at < report.length; at++) {
      const altered = changed(report, { at, mask: 1 << (at % 8) });
      const appraisal = await verifyAttestationReport(altered, pek.publicKey, expectations);
      expect(verdict(appraisal).accepted, `byte ${at}`).toBe(false);
      expect(appraisal.checks).toHaveLength(5);
    }
  });

  test.each([0, 0xcf, 0xd1])('%d bytes are malformed', async (length) => {
    expect(() => parseAttestationReport(new Uint8Array(length))).toThrow(MalformedError);
    const appraisal = await verifyAttestationReport(new Uint8Array(length), pek.publicKey, { mnonce });
    expect(failed(appraisal)).toContain('attestation.form');
  });

  test('another signer than a PEK is malformed', () => {
    const other = changed(report, { at: attestationReport.offsetOf('signatureUsage'), mask: 6 });
    expect(() => parseAttestationReport(other)).toThrow(MalformedError);
  });

  test('an expected policy that is none is the caller’s mistake', async () => {
    const verifying = verifyAttestationReport(report, pek.publicKey, { mnonce, policy: -1 });
    await expect(verifying).rejects.toThrow(InvalidArgumentError);
  });
});
