import {
  type CertificateTableEntry,
  certificateTableGuids,
  endorsementsOfTable,
  MalformedError,
  type P384PublicKey,
  parseCertificate,
  parseSnpReport,
  signedBytesOfReport,
  snpReports,
  toHex,
  verifyP384,
  zeroGuid,
} from '@vouchsafe/sev';
import { expect, it } from 'vitest';
import { describeWithVectors, jsonVector, vectors } from '../../../sev/src/testing/vectors.js';
import { jsonText } from '../json/canonical-json.js';
import { type JsonValue, parseStrictJson } from '../json/strict-json.js';
import { parseSnpEvidence, snpEvidenceJson } from './snp-evidence.js';

const reports = [
  'milan-v2-idblock',
  'milan-v2-debug',
  'milan-v3-oak',
  'milan-v3-vlek-aws',
  'genoa-v3-tsm',
  'genoa-v5-siena',
  'turin-v5-azure',
];
const report = (name: string) => vectors(`snp/reports/${name}.bin`);
const certificate = (kind: keyof typeof certificateTableGuids, length = 3): CertificateTableEntry => ({
  kind,
  guid: certificateTableGuids[kind],
  bytes: new Uint8Array(length).fill(7),
});
type Json = Record<string, unknown>;

/** The JSON of real evidence with one change. */
const changed = (name: string, change: (report: Json, evidence: Json) => void): JsonValue => {
  const json = structuredClone(snpEvidenceJson({ report: report(name), certificates: [] })) as Json;
  change(json['attestation_report'] as Json, json);
  return json as JsonValue;
};
const set = (object: Json, name: string, value: unknown): void => {
  object[name] = value;
};
const refusedAt = (json: JsonValue): string => {
  try {
    parseSnpEvidence(json);
  } catch (error) {
    expect(error).toBeInstanceOf(MalformedError);
    return (error as MalformedError).field;
  }
  throw new Error('it was accepted');
};

function isSignedBy(report: Uint8Array, key: P384PublicKey): Promise<boolean> {
  const parsed = parseSnpReport(report);
  return verifyP384(key, 'sha384', signedBytesOfReport(parsed), parsed.signature);
}

describeWithVectors('the evidence that Trustee tests with', () => {
  const text = new TextDecoder().decode(vectors('kbs/snp/evidence-genoa-vcek.json'));

  it('becomes the 1184 bytes that the processor signed', async () => {
    const { report, certificates } = parseSnpEvidence(parseStrictJson('evidence', text));
    expect(report.length).toBe(1184);
    const parsed = parseSnpReport(report);
    expect(parsed.cpuid).toEqual({ family: 25, model: 160, stepping: 2 });
    expect(parsed.launchMitigationVector).toBeUndefined();
    expect(certificates.map(({ kind, bytes }) => [kind, bytes.length])).toEqual([['VCEK', 1347]]);
    const { vek } = endorsementsOfTable(certificates, 'VCEK');
    const publicKey = parseCertificate(vek!).publicKey as P384PublicKey;
    expect(await isSignedBy(report, publicKey)).toBe(true);
    report[0x90]! ^= 1;
    expect(await isSignedBy(report, publicKey)).toBe(false);
  });

  it('is written as it was read, but for the members of version 5', () => {
    const again = snpEvidenceJson(parseSnpEvidence(parseStrictJson('evidence', text))) as {
      attestation_report: Json;
    };
    const { launch_mit_vector, current_mit_vector, ...others } = again.attestation_report;
    expect([launch_mit_vector, current_mit_vector]).toEqual([null, null]);
    const sorted = { ...again, attestation_report: others };
    expect(JSON.stringify(sorted)).toBe(text.trim());
  });
});

describeWithVectors('the other SNP samples', () => {
  it('a report of version 2 keeps its bytes', () => {
    const bytes = vectors('kbs/snp/report-milan.bin');
    const json = parseStrictJson('evidence', jsonText(snpEvidenceJson({ report: bytes, certificates: [] })));
    expect(toHex(parseSnpEvidence(json).report)).toBe(toHex(bytes));
  });

  it('Azure’s evidence is of another kind, and is refused as SNP evidence', () => {
    expect(refusedAt(jsonVector<JsonValue>('kbs/az-snp-vtpm/evidence-v1.json'))).toBe('/attestation_report');
  });
});

describeWithVectors('real reports', () => {
  it.each(reports)('%s survives the way to JSON and back', (name) => {
    const certificates = [certificate('VCEK'), certificate('CRL', 1), certificate('PLATFORM', 8)];
    const json = parseStrictJson('x', jsonText(snpEvidenceJson({ report: report(name), certificates })));
    const read = parseSnpEvidence(json);
    expect(toHex(read.report)).toBe(toHex(report(name)));
    expect(read.certificates).toEqual(certificates);
  });

  it('keeps words beyond 2^53', () => {
    const bytes = report('genoa-v5-siena');
    const view = new DataView(bytes.buffer);
    const word = 0xfedc_ba98_7654_3211n;
    view.setBigUint64(snpReports.v5.offsetOf('launchMitigationVector'), word, true);
    view.setBigUint64(snpReports.v5.offsetOf('platformInfo'), word, true);
    const text = jsonText(snpEvidenceJson({ report: bytes, certificates: [] }));
    expect(text).toContain(`"launch_mit_vector":${word},`);
    expect(text).toContain(`"plat_info":${word},`);
    expect(toHex(parseSnpEvidence(parseStrictJson('x', text)).report)).toBe(toHex(bytes));
  });
});

describeWithVectors('evidence is refused', () => {
  const milan = 'milan-v3-oak';
  it.each<[string, string, (report: Json, evidence: Json) => void, string]>([
    ['of version 1', milan, (r) => set(r, 'version', 1), '/attestation_report/version'],
    ['of version 6', 'genoa-v5-siena', (r) => set(r, 'version', 6), '/attestation_report/version'],
    ['of a version in text', milan, (r) => set(r, 'version', '3'), '/attestation_report/version'],
    ['with a member too many', milan, (r) => set(r, 'more', 1), '/attestation_report/more'],
    ['with another member beside', milan, (_, e) => set(e, 'more', 1), '/more'],
    ['without a measurement', milan, (r) => delete r['measurement'], '/attestation_report/measurement'],
    ['with a short one', milan, (r) => set(r, 'measurement', [1]), '/attestation_report/measurement'],
    [
      'with a byte of 256',
      milan,
      (r) => set(r, 'host_data', Array(32).fill(256)),
      '/attestation_report/host_data',
    ],
    [
      'with a byte that is text',
      milan,
      (r) => set(r, 'host_data', Array(32).fill('1')),
      '/attestation_report/host_data',
    ],
    [
      'with half a byte',
      milan,
      (r) => set(r, 'host_data', Array(32).fill(0.5)),
      '/attestation_report/host_data',
    ],
    ['with a negative word', milan, (r) => set(r, 'policy', -1), '/attestation_report/policy'],
    ['with a word of 65 bits', milan, (r) => set(r, 'policy', 1n << 64n), '/attestation_report/policy'],
    ['with a rounded word', milan, (r) => set(r, 'policy', 2 ** 60), '/attestation_report/policy'],
    ['without its processor', milan, (r) => set(r, 'cpuid_mod_id', null), '/attestation_report/cpuid_mod_id'],
    [
      'with a processor before version 3',
      'milan-v2-idblock',
      (r) => set(r, 'cpuid_fam_id', 25),
      '/attestation_report/cpuid_fam_id',
    ],
    [
      'with mitigations before version 5',
      milan,
      (r) => set(r, 'launch_mit_vector', 0),
      '/attestation_report/launch_mit_vector',
    ],
    [
      'without mitigations in version 5',
      'genoa-v5-siena',
      (r) => set(r, 'current_mit_vector', null),
      '/attestation_report/current_mit_vector',
    ],
    [
      'with TCB versions of two layouts',
      milan,
      (r) => set(r['launch_tcb'] as Json, 'fmc', 1),
      '/attestation_report/launch_tcb/fmc',
    ],
    [
      'with a longer signature',
      milan,
      (r) => set((r['signature'] as Json)['r'] as Json, '71', 1),
      '/attestation_report/signature/r',
    ],
    ['with certificates in no list', milan, (_, e) => set(e, 'cert_chain', {}), '/cert_chain'],
  ])('%s', (_, name, change, field) => {
    expect(refusedAt(changed(name, change))).toBe(field);
  });

  it.each<[string, unknown[], string]>([
    ['one kind twice', [entry('VCEK'), entry('VCEK')], '/cert_chain/1'],
    [
      'one kind twice by its GUID',
      [entry('VCEK'), entry({ OTHER: certificateTableGuids.VCEK })],
      '/cert_chain/1',
    ],
    ['a kind that nobody knows', [entry('PEK')], '/cert_chain/0/cert_type'],
    ['a GUID that is none', [entry({ OTHER: '1' })], '/cert_chain/0/cert_type/OTHER'],
    ['the GUID that closes a table', [entry({ OTHER: zeroGuid })], '/cert_chain/0'],
    ['no bytes', [{ cert_type: 'ARK', data: [] }], '/cert_chain/0/data'],
    ['bytes in an empty entry', [entry('Empty')], '/cert_chain/0/data'],
    ['more than a certificate', [{ cert_type: 'ARK', data: Array(65537).fill(1) }], '/cert_chain/0/data'],
    ['too many', Array(17).fill(entry('Empty')), '/cert_chain'],
  ])('with certificates: %s', (_, chain, field) => {
    expect(refusedAt(changed(milan, (__, evidence) => set(evidence, 'cert_chain', chain)))).toBe(field);
  });

  it('but not for entries that hold nothing, or no list at all', () => {
    for (const chain of [null, [], [{ cert_type: 'Empty', data: [] }]]) {
      const json = changed(milan, (_, evidence) => set(evidence, 'cert_chain', chain));
      expect(parseSnpEvidence(json).certificates).toEqual([]);
    }
  });
});

function entry(type: unknown) {
  return { cert_type: type, data: [1, 2] };
}
