import { createPublicKey, createVerify, X509Certificate } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { concat, equalBytes, reversed, toHex } from '../bytes.js';
import { generateP384, verifyP384 } from '../crypto/index.js';
import { InvalidArgumentError, MalformedError } from '../errors.js';
import { byteChange, changed } from '../testing/mutations.js';
import { describeWithVectors, jsonVector, vectors } from '../testing/vectors.js';
import {
  formatFirmwareVersion,
  hardwareIdOf,
  hostRequestedVmpl,
  isChipIdMasked,
  parseSnpReport,
  reportForLine,
  type SnpAttestationReport,
  signedBytesOfReport,
  signSnpReport,
  snpReportSize,
} from './attestation-report.js';
import { buildSnpGuestPolicy } from './guest-policy.js';
import { snpReports } from './report-layout.js';
import { buildSignerInfo } from './signer-info.js';

const realReports = {
  'genoa-v3-tsm': { line: 'Genoa', vek: 'vcek.pem' },
  'genoa-v5-siena': { line: 'Genoa', vek: 'vcek.der' },
  'milan-v2-debug': { line: 'Milan', vek: 'vcek.der' },
  'milan-v2-idblock': { line: 'Milan', vek: 'vcek.der' },
  'milan-v3-oak': { line: 'Milan', vek: 'vcek.der' },
  'milan-v3-vlek-aws': { line: 'Milan', vek: 'vlek.der' },
  'turin-v5-azure': { line: 'Turin', vek: 'vcek.pem' },
} as const;
const names = Object.keys(realReports) as (keyof typeof realReports)[];
const reportFile = (name: string) => vectors(`snp/reports/${name}.bin`);

/** A report in the words of the expected parse, every field of it. */
function inTheirWords(report: SnpAttestationReport) {
  const hexWord = (word: bigint | number) => `0x${word.toString(16)}`;
  return {
    version: report.version,
    guestSvn: report.guestSvn,
    policy: hexWord(report.policy.word),
    familyId: toHex(report.familyId),
    imageId: toHex(report.imageId),
    vmpl: report.vmpl,
    signatureAlgo: { INVALID: 0, 'ECDSA-P384-SHA384': 1 }[report.signatureAlgorithm],
    platformInfo: hexWord(report.platformInfo.word),
    signerInfo: hexWord(buildSignerInfo(report.signerInfo)),
    reportData: toHex(report.reportData),
    measurement: toHex(report.measurement),
    hostData: toHex(report.hostData),
    idKeyDigest: toHex(report.idKeyDigest),
    authorKeyDigest: toHex(report.authorKeyDigest),
    reportId: toHex(report.reportId),
    reportIdMa: toHex(report.reportIdMa),
    chipId: toHex(report.chipId),
    cpuid: report.cpuid ?? null,
    currentTcb: report.currentTcb,
    reportedTcb: report.reportedTcb,
    committedTcb: report.committedTcb,
    launchTcb: report.launchTcb,
    currentVersion: formatFirmwareVersion(report.currentVersion),
    committedVersion: formatFirmwareVersion(report.committedVersion),
    launchMitVector:
      report.launchMitigationVector === undefined ? null : hexWord(report.launchMitigationVector),
    currentMitVector:
      report.currentMitigationVector === undefined ? null : hexWord(report.currentMitigationVector),
  };
}

describeWithVectors('real reports', () => {
  test.each(names)('%s: every field as an independent parser read it', (name) => {
    const expected = jsonVector<{ product: string; report: object }>(`snp/reports/${name}.json`);
    expect(inTheirWords(parseSnpReport(reportFile(name)))).toEqual(expected.report);
    expect(expected.product).toBe(realReports[name].line);
  });

  test.each(names)('%s: its signature is read as numbers that OpenSSL verifies', (name) => {
    const report = parseSnpReport(reportFile(name));
    const key = createPublicKey(
      new X509Certificate(vectors(`snp/reports/${name}.${realReports[name].vek}`)).publicKey.export({
        type: 'spki',
        format: 'pem',
      }),
    );
    const { r, s } = report.signature;
    const verifier = createVerify('sha384').update(signedBytesOfReport(report));
    expect(verifier.verify({ key, dsaEncoding: 'ieee-p1363' }, concat(r, s))).toBe(true);
    expect(signedBytesOfReport(report)).toHaveLength(0x2a0);
  });

  test.each(names)('%s: product line', (name) => {
    const report = parseSnpReport(reportFile(name));
    if (report.version === 2) expect(report).toMatchObject({ lineSource: 'unknown', tcbLayout: 'milan' });
    else expect(report).toMatchObject({ lineSource: 'cpuid', line: realReports[name].line });
    expect(reportForLine(report, realReports[name].line).line).toBe(realReports[name].line);
  });

  test('bits of Turin that nobody documents are noted, with their place', () => {
    const report = parseSnpReport(reportFile('turin-v5-azure'));
    expect(report.platformInfo).toMatchObject({
      smtEnabled: true,
      aliasCheckComplete: true,
      unknownBits: 0x40n,
    });
    expect(report.notes).toMatchObject([{ field: 'reserved bits', offset: 0x40, found: '0x40' }]);
    for (const name of names.filter((each) => each !== 'turin-v5-azure'))
      expect(parseSnpReport(reportFile(name)).notes).toEqual([]);
  });

  test('a hardware id is what the certificate holds', () => {
    for (const name of names) {
      const report = parseSnpReport(reportFile(name));
      const { vek } = jsonVector<{ vek: { extensions: Record<string, string> } }>(`snp/reports/${name}.json`);
      expect(isChipIdMasked(report)).toBe(vek.extensions['4'] === undefined);
      if (vek.extensions['4'] !== undefined) expect(toHex(hardwareIdOf(report))).toBe(vek.extensions['4']);
    }
  });

  test('read as another line than their processor’s are refused', () => {
    const genoa = parseSnpReport(reportFile('genoa-v5-siena'));
    expect(() => reportForLine(genoa, 'Milan')).toThrow(InvalidArgumentError);
    expect(parseSnpReport(reportFile('genoa-v5-siena'), { line: 'Turin' })).toMatchObject({
      line: 'Genoa',
      lineSource: 'cpuid',
    });
  });
});

const random = (seed: number, length: number) =>
  Uint8Array.from({ length }, (_, i) => (seed * 37 + i * 11 + 1) & 0xff);
const milanTcb = Uint8Array.of(4, 1, 0, 0, 0, 0, 24, 217);
const turinTcb = Uint8Array.of(1, 2, 3, 4, 0, 0, 0, 81);

/** A report with something in every field, so that a swapped pair of fields shows. */
function madeReport(layout: 'v2' | 'v3' | 'v5' | 'newer' = 'v5', overrides: Record<string, unknown> = {}) {
  const policy = { mustBeOne: true, smt: true, abiMinor: 31 };
  const values = {
    version: { v2: 2, v3: 3, v5: 5, newer: 6 }[layout],
    guestSvn: 7,
    policy,
    familyId: random(1, 16),
    imageId: random(2, 16),
    vmpl: 2,
    signatureAlgorithm: 'ECDSA-P384-SHA384',
    currentTcb: milanTcb,
    platformInfo: { smtEnabled: true },
    signerInfo: { authorKeyEnabled: true },
    reportData: random(3, 64),
    measurement: random(4, 48),
    hostData: random(5, 32),
    idKeyDigest: random(6, 48),
    authorKeyDigest: random(7, 48),
    reportId: random(8, 32),
    reportIdMa: random(9, 32),
    reportedTcb: milanTcb,
    chipId: random(10, 64),
    committedTcb: milanTcb,
    currentBuild: 3,
    currentMinor: 55,
    currentMajor: 1,
    committedBuild: 2,
    committedMinor: 54,
    committedMajor: 1,
    launchTcb: milanTcb,
    r: random(11, 48),
    s: random(12, 48),
    cpuidFamily: 0x19,
    cpuidModel: 0x11,
    cpuidStepping: 1,
    launchMitigationVector: 0x3fn,
    currentMitigationVector: 0x7fn,
    ...overrides,
  };
  return snpReports[layout].build(values as never);
}

const put = (bytes: Uint8Array, at: number, ...values: number[]) => {
  const copy = bytes.slice();
  copy.set(values, at);
  return copy;
};
const refusal = (bytes: Uint8Array, options?: Parameters<typeof parseSnpReport>[1]) => {
  try {
    parseSnpReport(bytes, options);
  } catch (error) {
    if (error instanceof MalformedError) return error;
    throw error;
  }
  throw new Error('the report was accepted');
};

/** Places that the sheet calls reserved, and values that only one layout uses. */
const always = [
  [0x04c, 4],
  [0x1eb, 1],
  [0x1ef, 1],
  [0x208, 152],
  [0x2d0, 24],
  [0x318, 24],
  [0x330, 368],
] as const;
const reservedRanges = {
  v2: [...always, [0x188, 24], [0x1f8, 16]],
  v3: [...always, [0x18b, 21], [0x1f8, 16]],
  v5: [...always, [0x18b, 21]],
} as const;

describe('versions', () => {
  test.each(['v2', 'v3', 'v5'] as const)(
    '%s: every byte of its reserved ranges is refused, where it is',
    (layout) => {
      for (const [start, length] of reservedRanges[layout]) {
        for (let at = start; at < start + length; at++)
          expect(refusal(put(madeReport(layout), at, 1)).offset).toBe(at);
      }
    },
  );

  test('4 is read as 3', () => {
    const third = parseSnpReport(madeReport('v3'));
    const fourth = parseSnpReport(madeReport('v3', { version: 4 }));
    expect({ ...fourth, version: 3, raw: third.raw }).toEqual(third);
    expect(refusal(put(madeReport('v3', { version: 4 }), 0x1f8, 1)).offset).toBe(0x1f8);
  });

  test('only later ones know the processor and the mitigations', () => {
    expect(parseSnpReport(madeReport('v2'))).not.toHaveProperty('cpuid');
    expect(parseSnpReport(madeReport('v3')).cpuid).toEqual({ family: 0x19, model: 0x11, stepping: 1 });
    expect(parseSnpReport(madeReport('v3'))).not.toHaveProperty('currentMitigationVector');
    expect(parseSnpReport(madeReport('v5'))).toMatchObject({
      launchMitigationVector: 0x3fn,
      currentMitigationVector: 0x7fn,
    });
  });

  test.each([0, 1, 6, 0x100, 0x02000000])('%i is refused', (version) => {
    expect(refusal(madeReport('newer', { version }))).toMatchObject({
      field: 'version',
      found: String(version),
    });
  });

  test('after 5 are read only when asked to, and what is new is noted', () => {
    const newer = put(madeReport('newer'), 0x208, 9);
    expect(refusal(newer).field).toBe('version');
    const report = parseSnpReport(newer, { acceptNewerVersions: true });
    expect(report.version).toBe(6);
    expect(report.notes).toMatchObject([{ field: 'reserved208', offset: 0x208 }]);
    expect(reportForLine(report, 'Genoa')).toEqual(report);
    for (const version of [0, 1])
      expect(refusal(madeReport('newer', { version }), { acceptNewerVersions: true }).field).toBe('version');
  });

  test('after 5 may not bring policy bits or signer bits that we do not know', () => {
    for (const at of [0x0b, 0x4b])
      expect(
        refusal(put(madeReport('newer'), at, 0x80), { acceptNewerVersions: true }).offset,
      ).toBeLessThanOrEqual(at);
  });

  test.each(['v2', 'v5'] as const)('the layout of %s takes no other', (layout) => {
    for (const other of ['v2', 'v3', 'v5'] as const) {
      const read = () => snpReports[layout].parse(madeReport(other));
      if (other === layout) expect(read).not.toThrow();
      else expect(read).toThrow(MalformedError);
    }
  });

  test('have one length', () => {
    for (const length of [0, 3, 0x20, snpReportSize - 1, snpReportSize + 1])
      expect(refusal(new Uint8Array(length)).field).toBe('length');
  });
});

describe('a report', () => {
  test('says how each value differs from what is allowed', () => {
    const good = madeReport();
    expect(refusal(put(good, 0x0a, 1)).message).toContain('expected one, found zero');
    expect(refusal(put(good, 0x0b, 0x04)).message).toContain('reserved bits at offset 0x8');
    expect(refusal(put(good, 0x30, 4)).message).toContain('expected 0 to 3, or 0xffffffff, found 4');
    expect(refusal(put(good, 0x34, 2)).offset).toBe(0x34);
    expect(refusal(put(good, 0x34, 0)).message).toContain('as the VCEK signed');
    expect(refusal(put(good, 0x48, 0x20)).offset).toBe(0x48);
    for (const value of [2, 3, 4, 5, 6])
      expect(refusal(put(good, 0x48, value << 2))).toMatchObject({ field: 'SIGNING_KEY', offset: 0x48 });
  });

  test('of the host carries no VMPL', () => {
    expect(parseSnpReport(put(madeReport(), 0x30, 255, 255, 255, 255)).vmpl).toBe(hostRequestedVmpl);
    expect(refusal(put(madeReport(), 0x30, 255, 255, 255)).field).toBe('VMPL');
  });

  test('that no key signed has no signature', () => {
    const unsigned = { signerInfo: { signingKey: 7 }, r: new Uint8Array(48), s: new Uint8Array(48) };
    expect(parseSnpReport(madeReport('v5', unsigned)).signerInfo.signingKey).toBe('none');
    expect(parseSnpReport(madeReport('v5', { ...unsigned, signatureAlgorithm: 'INVALID' }))).toMatchObject({
      signatureAlgorithm: 'INVALID',
    });
    expect(refusal(madeReport('v5', { ...unsigned, r: random(1, 48) })).field).toBe('SIGNATURE');
    expect(refusal(madeReport('v5', { ...unsigned, s: random(1, 48) })).field).toBe('SIGNATURE');
  });

  test('before version 5 has TIO_EN noted', () => {
    const platformInfo = { tioEnabled: true };
    expect(parseSnpReport(madeReport('v3', { platformInfo })).notes).toMatchObject([
      { field: 'TIO_EN', offset: 0x40 },
    ]);
    expect(parseSnpReport(madeReport('v5', { platformInfo })).notes).toEqual([]);
  });

  test('inside a longer input is refused with the offset in the whole', () => {
    const location = { offset: 0x20, path: 'container, report' };
    const error = refusal(put(madeReport(), 0x1eb, 1), { location });
    expect(error).toMatchObject({ offset: 0x20 + 0x1eb, structure: 'container, report' });
    expect(refusal(put(madeReport(), 0x1f3, 1), { location }).message).toContain(
      'container, report, launchTcb',
    );
  });

  test('keeps a copy of its bytes', () => {
    const bytes = madeReport();
    const report = parseSnpReport(bytes);
    bytes.fill(0);
    expect(toHex(report.raw)).toBe(toHex(madeReport()));
  });
});

describe('the layout of TCB versions', () => {
  const turin = { currentTcb: turinTcb, reportedTcb: turinTcb, committedTcb: turinTcb, launchTcb: turinTcb };
  const shortChipId = concat(random(10, 8), new Uint8Array(56));

  test('follows the processor', () => {
    const report = parseSnpReport(madeReport('v5', { ...turin, cpuidFamily: 0x1a, cpuidModel: 2 }));
    expect(report).toMatchObject({ line: 'Turin', reportedTcb: { fmc: 1, bootloader: 2, tee: 3, snp: 4 } });
    expect(refusal(madeReport('v5', turin)).message).toContain('currentTcb: reserved at offset 0x3a');
  });

  test('of version 2 follows the chip id, until the line is given', () => {
    const bytes = madeReport('v2', { ...turin, chipId: shortChipId });
    const guessed = parseSnpReport(bytes);
    expect(guessed).toMatchObject({ line: 'Turin', lineSource: 'chip-id', tcbLayout: 'turin' });
    expect(reportForLine(guessed, 'Turin')).toMatchObject({ line: 'Turin', lineSource: 'given' });
    expect(() => reportForLine(guessed, 'Milan')).toThrow(MalformedError);
    expect(hardwareIdOf(guessed)).toEqual(random(10, 8));
  });

  test('of version 2 is Milan’s for a long chip id', () => {
    const guessed = parseSnpReport(madeReport('v2'));
    expect(guessed).toMatchObject({ lineSource: 'unknown', tcbLayout: 'milan' });
    expect(guessed).not.toHaveProperty('line');
    expect(reportForLine(guessed, 'Genoa')).toMatchObject({ line: 'Genoa', lineSource: 'given' });
    expect(hardwareIdOf(guessed)).toHaveLength(64);
  });

  test('of a masked chip is the one that fits', () => {
    const masked = { chipId: new Uint8Array(64) };
    expect(parseSnpReport(madeReport('v2', masked)).tcbLayout).toBe('milan');
    for (const name of Object.keys(turin))
      expect(() => parseSnpReport(madeReport('v2', { ...masked, [name]: turinTcb }))).toThrow('0x');
    expect(parseSnpReport(madeReport('v2', { ...masked, ...turin }))).toMatchObject({ tcbLayout: 'turin' });
    expect(parseSnpReport(madeReport('v2', { ...masked, ...turin }), { line: 'Turin' }).line).toBe('Turin');
  });

  test('of a processor that is not known is the one that fits, or the given one', () => {
    const unknown = { ...turin, cpuidFamily: 0x1b, cpuidModel: 0 };
    expect(parseSnpReport(madeReport('v5', unknown))).toMatchObject({
      lineSource: 'unknown',
      tcbLayout: 'turin',
    });
    expect(parseSnpReport(madeReport('v5', unknown), { line: 'Venice' }).line).toBe('Venice');
    expect(parseSnpReport(madeReport('v5', { ...unknown, chipId: shortChipId })).lineSource).toBe('unknown');
    const newer = parseSnpReport(madeReport('newer', unknown), { acceptNewerVersions: true });
    expect(reportForLine(newer, 'Venice')).toMatchObject({ version: 6, line: 'Venice', lineSource: 'given' });
  });
});

describe('signing', () => {
  test('covers everything before the signature', async () => {
    const key = await generateP384();
    const report = parseSnpReport(await signSnpReport(madeReport(), key));
    const valid = (bytes: Uint8Array) =>
      verifyP384(key.publicKey, 'sha384', signedBytesOfReport({ raw: bytes }), report.signature);
    expect(await valid(report.raw)).toBe(true);
    for (const at of [0, 0x50, 0x29f]) expect(await valid(changed(report.raw, { at, mask: 1 }))).toBe(false);
    expect(await valid(changed(report.raw, { at: 0x2a0, mask: 1 }))).toBe(true);
    expect(toHex(report.raw.subarray(0x2a0, 0x2d0))).toBe(toHex(reversed(report.signature.r)));
    expect(toHex(report.raw.subarray(0x2e8, 0x318))).toBe(toHex(reversed(report.signature.s)));
  });

  test('takes a report’s length', async () => {
    await expect(signSnpReport(new Uint8Array(10), await generateP384())).rejects.toThrow(
      InvalidArgumentError,
    );
  });
});

describe('properties', () => {
  test('a changed byte is refused, or shows in a field', () => {
    const original = parseSnpReport(madeReport());
    const { raw: _raw, ...before } = original;
    fc.assert(
      fc.property(byteChange(snpReportSize), (change) => {
        try {
          const { raw: _changed, ...after } = parseSnpReport(changed(original.raw, change));
          expect(after).not.toEqual(before);
        } catch (error) {
          expect(error).toBeInstanceOf(MalformedError);
        }
      }),
      { numRuns: 400 },
    );
  });

  test('words of policies survive', () => {
    fc.assert(
      fc.property(fc.boolean(), fc.boolean(), fc.nat(255), (debug, smt, abiMinor) => {
        const policy = { mustBeOne: true, debug, smt, abiMinor };
        const report = parseSnpReport(madeReport('v5', { policy }));
        expect(report.policy.word).toBe(buildSnpGuestPolicy({ debug, smt, abiMinor }));
        expect(equalBytes(report.raw.subarray(8, 9), Uint8Array.of(abiMinor))).toBe(true);
      }),
    );
  });
});
