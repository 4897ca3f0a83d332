import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { describeWithVectors, jsonVector, vectorPath } from '../../../../sev/src/testing/vectors.js';
import { run, runJson } from '../../testing/run.js';
import { SoftwareEvidence } from '../../testing/software-evidence.js';

interface Field {
  readonly name: string;
  readonly label: string;
  readonly offset: number;
  readonly value: string;
  readonly surprising?: string;
}
interface Document {
  readonly form: string;
  readonly version: number;
  readonly productLine: string | null;
  readonly root: { readonly name: string } | null;
  readonly fields: readonly Field[];
  readonly verification: { readonly accepted: boolean } | null;
}
const fieldOf = ({ fields }: Document, name: string) => fields.find((field) => field.name === name)!;

const parses = [
  ['genoa-v3-tsm', 'genoa-v3-tsm.vcek.pem', 'cert_chain_genoa.pem', 'Genoa'],
  ['genoa-v5-siena', 'genoa-v5-siena.vcek.der', 'cert_chain_genoa.pem', 'Genoa'],
  ['milan-v2-debug', 'milan-v2-debug.vcek.der', 'cert_chain_milan.pem', 'Milan'],
  ['milan-v2-idblock', 'milan-v2-idblock.vcek.der', 'cert_chain_milan.pem', 'Milan'],
  ['milan-v3-oak', 'milan-v3-oak.vcek.der', 'cert_chain_milan.pem', 'Milan'],
  ['milan-v3-vlek-aws', 'milan-v3-vlek-aws.vlek.der', 'cert_chain_milan-vlek.pem', 'Milan'],
  ['turin-v5-azure', 'turin-v5-azure.vcek.pem', 'cert_chain_turin.pem', 'Turin'],
] as const;

interface Expected {
  readonly report: Readonly<Record<string, unknown>> & { readonly policy: string; readonly version: number };
  readonly vek: { readonly notBefore: string };
}

describeWithVectors('report show, on genuine reports', () => {
  it.each(parses)('%s: every field, and the root', async (name, vek, chain, line) => {
    const { report, vek: certificate } = jsonVector<Expected>(`snp/reports/${name}.json`);
    const { exit, stderr, document } = await runJson<Document>([
      ...['report', 'show', vectorPath(`snp/reports/${name}.bin`)],
      ...['--vek', vectorPath(`snp/reports/${vek}`), '--chain', vectorPath(`snp/certs/${chain}`)],
      ...['--at', certificate.notBefore],
    ]);
    expect([exit, stderr, document.version]).toEqual([0, '', report.version]);
    expect([document.root?.name, document.productLine]).toEqual([`AMD, ${line}`, line]);
    for (const same of ['policy', 'platformInfo', 'reportData', 'measurement', 'hostData', 'idKeyDigest'])
      expect(fieldOf(document, same).value).toBe(report[same]);
    for (const same of ['authorKeyDigest', 'familyId', 'imageId', 'reportId', 'reportIdMa', 'chipId'])
      expect(fieldOf(document, same).value).toBe(report[same]);
    for (const same of ['currentTcb', 'reportedTcb', 'committedTcb', 'launchTcb']) {
      const parts = Object.entries(report[same] as Record<string, number>).map(
        ([part, value]) => `${part} ${value}`,
      );
      expect(fieldOf(document, same).value.split(', ').sort()).toEqual(parts.sort());
    }
    expect(fieldOf(document, 'vmpl').value).toBe(String(report['vmpl']));
    expect(fieldOf(document, 'guestSvn').value).toBe(String(report['guestSvn']));
  });

  it('marks what is surprising', async () => {
    const { document } = await runJson<Document>([
      'report',
      'show',
      vectorPath('snp/reports/milan-v3-vlek-aws.bin'),
    ]);
    const marked = document.fields.filter(({ surprising }) => surprising !== undefined);
    expect(marked.map(({ label }) => label)).toEqual(['VMPL', 'CURRENT_TCB', 'ID_KEY_DIGEST', 'CHIP_ID']);
    expect([document.root, document.verification]).toEqual([null, null]);
    const { stdout } = await run([
      ...['report', 'show', vectorPath('snp/reports/milan-v2-debug.bin'), '--product', 'Milan', '--offsets'],
    ]);
    expect(stdout).toMatch(/^SEV-SNP attestation report of Milan, version 2$/m);
    expect(stdout).toMatch(/^0x008, 8 {2}POLICY {2}0xb0000$/m);
    expect(stdout).toMatch(/^ {2}! DEBUG: the host can read and change all of the guest’s memory$/m);
    expect(stdout).toMatch(/root: not known/);
    expect(stdout).toMatch(/\nMarked with “!”: POLICY; .*\.\n$/);
  });

  it('shows the answer of the firmware and the container of Azure', async () => {
    for (const [file, form] of [
      ['snp/messages/msg-report-rsp-v2.bin', 'REPORT_RSP, raw'],
      ['snp/evidence/azure-hcl-report.bin', 'HCL container, raw'],
      ['snp/evidence/genoa-v3-tsm.json', 'report, TSM evidence'],
    ] as const) {
      const { exit, document } = await runJson<Document>(['report', 'show', vectorPath(file)]);
      expect([exit, document.form]).toEqual([0, form]);
    }
  });
});

describe('report show', () => {
  let evidence: SoftwareEvidence;
  beforeAll(async () => {
    evidence = await SoftwareEvidence.make();
  });
  afterAll(() => evidence.remove());

  it('names a development root as what it is, and says why there is none', async () => {
    const report = await evidence.report('report.bin');
    const options = await evidence.options();
    const shown = await run(['report', 'show', report, ...options]);
    expect(shown.stdout).toContain(
      'root: Vouchsafe Development, Milan (a development root: no hardware stands behind it)',
    );
    const untrusted = await run([
      ...['report', 'show', report],
      ...options.filter((_, i) => options[i] !== '--root' && options[i - 1] !== '--root'),
    ]);
    expect(untrusted.exit).toBe(0);
    expect(untrusted.stdout).toContain('root: none; the report is not proved genuine');
    expect(untrusted.stdout).toContain('failed: ARK is a trusted root (endorsement.ark.root)');
  });

  it('shows forged reports, which verify refuses', async () => {
    const bytes = readFileSync(await evidence.report('report.bin'));
    bytes[0x90]! ^= 1;
    const forged = evidence.file('forged.bin', bytes);
    const { exit, document } = await runJson<Document>([
      'report',
      'show',
      forged,
      ...(await evidence.options()),
    ]);
    expect([exit, document.root, document.verification?.accepted]).toEqual([0, null, false]);
    expect(fieldOf(document, 'measurement').value).toMatch(/^3f3e/);
  });

  it('refuses what cannot be read, and names the field', async () => {
    const bytes = readFileSync(await evidence.report('report.bin'));
    bytes[0x4c] = 1;
    const { exit, stdout, stderr } = await run(['report', 'show', evidence.file('odd.bin', bytes)]);
    expect([exit, stdout]).toEqual([2, '']);
    expect(stderr).toMatch(/^vouchsafe: .*offset 0x4c/);
    bytes[0x4c] = 0;
    bytes[0] = 6;
    const newer = evidence.file('newer.bin', bytes);
    expect((await run(['report', 'show', newer])).exit).toBe(2);
    expect((await run(['report', 'show', newer, '--accept-newer-versions'])).exit).toBe(0);
  });
});
