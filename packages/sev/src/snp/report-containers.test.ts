import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { concat, equalBytes, fromBase64, toHex } from '../bytes.js';
import { MalformedError } from '../errors.js';
import { describeWithVectors, jsonVector, vectors } from '../testing/vectors.js';
import { formatFirmwareVersion, parseSnpReport, snpReportSize } from './attestation-report.js';
import { buildCertificateTable, certificateTableGuids, parseCertificateTable } from './certificate-table.js';
import { findSnpReport, hclHead, hclRuntimeData, reportResponseHead } from './report-containers.js';

const base64url = (text: string) => {
  const standard = text.replaceAll('-', '+').replaceAll('_', '/').replaceAll('=', '');
  return fromBase64(standard.padEnd(Math.ceil(standard.length / 4) * 4, '='));
};

describeWithVectors('reports as they are handed over', () => {
  test('by /dev/sev-guest, padded', () => {
    const found = findSnpReport(vectors('snp/messages/msg-report-rsp-v2.bin'));
    expect(found).toMatchObject({ form: 'REPORT_RSP', offset: 0x20 });
    const report = parseSnpReport(found.report);
    expect(formatFirmwareVersion(report.currentVersion)).toBe('1.51.3');
    expect(formatFirmwareVersion(report.committedVersion)).toBe('1.49.6');
    expect(report).toMatchObject({ version: 2, currentTcb: { snp: 6 }, committedTcb: { snp: 5 } });
    expect(report.notes).toEqual([]);
  });

  test('by configfs-tsm', () => {
    const blobs = jsonVector<{ outblob: string; auxblob: string }>('snp/evidence/genoa-v3-tsm.json');
    const found = findSnpReport(base64url(blobs.outblob));
    expect(found).toMatchObject({ form: 'report', offset: 0 });
    expect(toHex(found.report)).toBe(toHex(vectors('snp/reports/genoa-v3-tsm.bin')));
    const table = base64url(blobs.auxblob);
    expect(toHex(table)).toBe(toHex(vectors('snp/evidence/genoa-v3-tsm.auxblob.bin')));
    expect(parseCertificateTable(table)).toHaveLength(3);
    const extended = findSnpReport(concat(found.report, table));
    expect(extended).toMatchObject({ form: 'report and certificate table', report: found.report });
    expect(extended.certificateTable).toEqual(table);
  });

  test.each([
    ['bare', () => vectors('snp/evidence/azure-hcl-report.bin'), 2],
    [
      'in JSON',
      () => base64url(jsonVector<{ hcl_report: string }>('snp/evidence/azure-milan-v1.json').hcl_report),
      3,
    ],
  ])('by Azure’s vTPM, %s, with claims that the report names', (_title, read, version) => {
    const { form, offset, report, claims } = findSnpReport(read());
    expect({ form, offset }).toEqual({ form: 'HCL container', offset: 0x20 });
    const parsed = parseSnpReport(report);
    expect(parsed.version).toBe(version);
    const hash = new Uint8Array(createHash('sha256').update(claims!).digest());
    expect(equalBytes(parsed.reportData, concat(hash, new Uint8Array(32)))).toBe(true);
    expect(Object.keys(JSON.parse(new TextDecoder().decode(claims)) as object)).toContain('keys');
  });
});

const report = concat(Uint8Array.of(2, 0, 0, 0), new Uint8Array(snpReportSize - 4).fill(1));
const response = (status: 'SUCCESS' | 'INVALID_PARAM' | 'INVALID_KEY', reportSize: number) =>
  reportResponseHead.build({ status, reportSize });
const refusal = (bytes: Uint8Array) => {
  try {
    findSnpReport(bytes);
  } catch (error) {
    if (error instanceof MalformedError) return error;
    throw error;
  }
  throw new Error('the container was accepted');
};

test('a Buffer given in is not shared', () => {
  const head = response('SUCCESS', snpReportSize);
  for (const input of [report, concat(head, report), concat(report, new Uint8Array(24))].map((each) =>
    Buffer.from(each),
  )) {
    const found = findSnpReport(input);
    input.fill(0);
    expect(found.report).toEqual(report);
    expect(found.report.constructor).toBe(Uint8Array);
  }
});

describe('an answer of the firmware', () => {
  test('may be padded with zeros', () => {
    const head = response('SUCCESS', snpReportSize);
    expect(findSnpReport(concat(head, report)).report).toEqual(report);
    expect(findSnpReport(concat(head, report, new Uint8Array(9))).report).toEqual(report);
    expect(refusal(concat(head, report, Uint8Array.of(0, 1)))).toMatchObject({
      field: 'padding',
      offset: 0x4c0,
    });
  });

  test('that refuses says so', () => {
    for (const status of ['INVALID_PARAM', 'INVALID_KEY'] as const)
      expect(refusal(concat(response(status, 0), new Uint8Array(3968)))).toMatchObject({
        field: 'status',
        found: status,
      });
  });

  test('with another size, or cut off, is refused', () => {
    expect(refusal(concat(response('SUCCESS', 0x4a1), report)).field).toBe('reportSize');
    expect(refusal(concat(response('SUCCESS', snpReportSize), report.subarray(1))).field).toBe('length');
    expect(refusal(new Uint8Array(0x20)).field).toBe('reportSize');
    const stray = concat(response('SUCCESS', snpReportSize), report);
    stray[0x1f] = 1;
    expect(refusal(stray)).toMatchObject({ field: 'reserved', offset: 0x1f });
  });
});

describe('a report with a table', () => {
  const table = buildCertificateTable([{ guid: certificateTableGuids.ARK, bytes: report }]);

  test('is taken apart', () => {
    const found = findSnpReport(concat(report, table));
    expect(found.report).toEqual(report);
    expect(found.certificateTable).toEqual(table);
  });

  test('is refused for the table’s fault, at its place', () => {
    expect(refusal(concat(report, table.subarray(0, 24)))).toMatchObject({ offset: snpReportSize + 24 });
    expect(refusal(concat(report, Uint8Array.of(1)))).toMatchObject({ offset: snpReportSize });
  });

  test('is no report when it is too short', () => {
    for (const length of [0, 1, 7, 31, 32, snpReportSize - 1])
      expect(refusal(report.subarray(0, length)).message).toContain('a report of 1184 bytes');
  });
});

describe('an HCL container', () => {
  const claims = new TextEncoder().encode('{}');
  const made = ({ contentSize = 0, dataSize = 0, claimsSize = 0 } = {}, ...padding: number[]) => {
    const whole = hclHead.size + snpReportSize + hclRuntimeData.size + claims.length;
    return concat(
      hclHead.build({ version: 1, contentSize: whole + contentSize }),
      report,
      hclRuntimeData.build({
        dataSize: hclRuntimeData.size + claims.length + dataSize,
        version: 1,
        claimsSize: claims.length + claimsSize,
      }),
      claims,
      Uint8Array.from(padding),
    );
  };

  test('is taken apart', () => {
    const found = findSnpReport(made({}, 0, 0));
    expect(found.report).toEqual(report);
    expect(found.claims).toEqual(claims);
  });

  test.each([
    ['reaches behind the end', made({ contentSize: 1 }), 'contentSize'],
    ['ends inside its heads', made({ contentSize: -3 }), 'contentSize'],
    ['disagrees about the runtime data', made({ dataSize: 1 }), 'dataSize'],
    ['disagrees about the claims', made({ claimsSize: -1 }), 'claimsSize'],
    ['has something after its end', made({}, 0, 1), 'padding'],
    ['is cut off', made().subarray(0, 0x4c4), 'contentSize'],
    ['is cut off in its head', made().subarray(0, 0x21), 'contentSize'],
  ])('that %s is refused', (_title, bytes, field) => {
    expect(refusal(bytes).field).toBe(field);
  });

  test('without the letters HCLA is no container', () => {
    const bytes = made();
    bytes[0]! ^= 1;
    expect(() => hclHead.parseAt(bytes, 0)).toThrow(MalformedError);
  });

  test.each([
    ['kind', 0x0c],
    ['kind', 0x4c8],
    ['hash', 0x4cc],
    ['reserved', 0x1f],
  ])('of another %s is refused', (field, at) => {
    const bytes = made();
    bytes[at]! ^= 4;
    expect(refusal(bytes)).toMatchObject({ field, offset: at });
  });
});
