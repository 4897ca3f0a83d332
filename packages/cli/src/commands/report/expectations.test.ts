import { generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { idKeyDigest, reversed, snpReportChecks, toHex } from '@vouchsafe/sev';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runJson } from '../../testing/run.js';
import { SoftwareEvidence } from '../../testing/software-evidence.js';
import { optionOfCheck } from './expectation-options.js';

interface Document {
  readonly accepted: boolean;
  readonly checks: readonly { readonly id: string; readonly status: string; readonly hint?: string }[];
}

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'secp384r1' });
const jwk = publicKey.export({ format: 'jwk' });
const point = {
  x: new Uint8Array(Buffer.from(jwk.x!, 'base64url')),
  y: new Uint8Array(Buffer.from(jwk.y!, 'base64url')),
};
const digest = await idKeyDigest(point);
const otherKey = generateKeyPairSync('ec', { namedCurve: 'secp384r1' }).publicKey;

const hex = (length: number, byte: number) => byte.toString(16).padStart(2, '0').repeat(length);
const chipId = toHex(Uint8Array.from({ length: 64 }, (_, i) => i + 1));
const bytesOf = (text: string) => new Uint8Array(Buffer.from(text, 'hex'));

/** For each check: an option that the report meets, and one that it does not. */
type Row = readonly [check: string, met: string, unmet: string];

const rows: readonly Row[] = [
  ['report.data', `--report-data ${hex(64, 0xda)}`, `--report-data ${hex(64, 0xdb)}`],
  ['report.measurement', `--measurement ${hex(48, 0x3e)}`, `--measurement ${hex(48, 0x3f)}`],
  ['report.host-data', `--host-data ${hex(32, 0x05)}`, `--host-data ${hex(32, 0x06)}`],
  ['report.id-key', `--trusted-id-key-hashes ${toHex(digest)}`, `--trusted-id-key-hashes ${hex(48, 1)}`],
  ['report.id-key', '--trusted-id-keys KEY', '--trusted-id-keys OTHER'],
  [
    'report.author-key',
    `--trusted-author-key-hashes ${hex(48, 1)},${toHex(digest)}`,
    `--trusted-author-key-hashes ${hex(48, 1)}`,
  ],
  ['report.author-key', '--trusted-author-keys PRIVATE', '--trusted-author-keys OTHER'],
  ['report.family-id', `--family-id ${hex(16, 0xfa)}`, `--family-id ${hex(16, 0)}`],
  ['report.image-id', `--image-id ${hex(16, 0x1a)}`, `--image-id ${hex(16, 0)}`],
  ['report.guest-svn', '--min-guest-svn 5', '--min-guest-svn 6'],
  ['report.vmpl', '--vmpl 1', '--vmpl 0'],
  ['report.signing-key', '--signing-key VCEK', '--signing-key VLEK'],
  ['report.version', '--min-report-version 5', '--min-report-version 6'],
  ['report.report-id', `--report-id ${hex(32, 0x1d)}`, `--report-id ${hex(32, 0x1e)}`],
  ['report.report-id-ma', `--report-id-ma ${hex(32, 0xff)}`, `--report-id-ma ${hex(32, 0xfe)}`],
  ['report.chip-allowed', `--chip-id ${chipId}`, `--chip-id ${hex(64, 9)}`],
  ['report.chip-denied', `--deny-chip-id ${hex(64, 9)}`, `--deny-chip-id ${chipId}`],
  ['vek.allowed-line', '--product Genoa --product Milan', '--product Genoa'],
  ['policy.abi', '--min-abi 1.51', '--min-abi 1.52'],
  ['policy.abi', '--guest-policy 0x30133', '--guest-policy 0x30134'],
  ['policy.smt', '--policy-smt set', '--policy-smt clear'],
  ['policy.smt', '--guest-policy 0x20000 --policy-smt set', '--guest-policy 0x20000'],
  ['policy.migration-agent', '--policy-migration-agent clear', '--policy-migration-agent set'],
  ['policy.debug', '--policy-debug clear', '--policy-debug set'],
  ['policy.single-socket', '--policy-single-socket clear', '--policy-single-socket set'],
  ['policy.single-socket', '--guest-policy 0x30000 --policy-single-socket clear', '--guest-policy 0x130000'],
  ['policy.cxl', '--policy-cxl clear', '--policy-cxl set'],
  ['policy.aes-256-xts', '--policy-aes-256-xts clear', '--guest-policy 0x430000'],
  ['policy.rapl', '--policy-rapl-disabled clear', '--guest-policy 0x830000'],
  ['policy.ciphertext-hiding', '--policy-ciphertext-hiding clear', '--guest-policy 0x1030000'],
  ['policy.page-swap', '--policy-page-swap-disabled clear', '--guest-policy 0x2030000'],
  ['tcb.reported', '--min-tcb bootloader=4,snp=24,microcode=217', '--min-tcb ucode=218'],
  ['tcb.committed', '--min-committed-tcb blSPL=4', '--min-committed-tcb teeSPL=1'],
  ['tcb.launch', '--min-launch-tcb snp=24', '--min-launch-tcb snp=25'],
  ['tcb.current', '--min-current-tcb microcode=217', '--min-current-tcb fmc=0'],
  ['firmware.build', '--min-build 29', '--min-build 30'],
  ['firmware.version', '--min-version 1.55', '--min-version 1.56'],
  [
    'mitigations.launch',
    '--min-launch-mitigation-vector 3',
    '--min-launch-mitigation-vector 0x8000000000000002',
  ],
  ['mitigations.current', '--min-current-mitigation-vector 0x1', '--min-current-mitigation-vector 4'],
  ['platform.smt', '--platform-smt set', '--platform-info 0'],
  ['platform.tsme', '--platform-info 0x1', '--platform-tsme set'],
  ['platform.ecc', '--platform-info 0x5', '--platform-ecc clear'],
  ['platform.rapl', '--platform-rapl-disabled clear', '--platform-info 0x9'],
  ['platform.ciphertext-hiding', '--platform-ciphertext-hiding clear', '--platform-info 0x11'],
  ['platform.alias-check', '--platform-alias-check set', '--platform-alias-check clear'],
  ['platform.tio', '--platform-info 0x1', '--platform-tio set'],
];

/** Switches, which the report meets; another report does not. */
const switches: readonly Row[] = [
  ['report.id-block', '--require-idblock', ''],
  ['report.author-key-enabled', '--require-author-key', ''],
  ['report.chip-id', '--require-chip-id', ''],
  ['platform.unknown-bits', '--refuse-unknown-platform-bits', ''],
];

describe('report verify, each expectation by its option', () => {
  let evidence: SoftwareEvidence;
  let report: string;
  let poor: string;
  let options: string[];
  const files: Record<string, string> = {};

  beforeAll(async () => {
    evidence = await SoftwareEvidence.make();
    const fields = {
      reportData: bytesOf(hex(64, 0xda)),
      measurement: bytesOf(hex(48, 0x3e)),
      hostData: bytesOf(hex(32, 0x05)),
      reportId: bytesOf(hex(32, 0x1d)),
      idKeyDigest: digest,
      authorKeyDigest: digest,
      launchMitigationVector: 3n,
      currentMitigationVector: 3n,
    };
    report = await evidence.report('report.bin', { fields, authorKeyEnabled: true });
    poor = await evidence.report('poor.bin', {
      fields: {
        idKeyDigest: new Uint8Array(48),
        authorKeyDigest: new Uint8Array(48),
        chipId: new Uint8Array(64),
      },
      edit: (bytes) => {
        bytes[0x040]! |= 0x40;
      },
    });
    options = await evidence.options();
    files['KEY'] = evidence.file('key.pem', publicKey.export({ type: 'spki', format: 'pem' }));
    files['PRIVATE'] = evidence.file('private.pem', privateKey.export({ type: 'sec1', format: 'pem' }));
    files['OTHER'] = evidence.file('other.der', otherKey.export({ type: 'spki', format: 'der' }));
  });
  afterAll(() => evidence.remove());

  const verify = (of: string, words: string) =>
    runJson<Document>([
      'report',
      'verify',
      of,
      ...options,
      ...words
        .split(' ')
        .filter(Boolean)
        .map((each) => files[each] ?? each),
    ]);
  const failed = ({ checks }: Document) =>
    checks.filter(({ status }) => status === 'fail').map(({ id }) => id);

  it.each(rows)('%s: %s', async (id, met, unmet) => {
    const accepted = await verify(report, met);
    expect([accepted.exit, failed(accepted.document)]).toEqual([0, []]);
    expect(accepted.document.checks.find((each) => each.id === id)?.status).toBe('pass');
    const refused = await verify(report, unmet);
    expect([refused.exit, refused.document.accepted]).toEqual([1, false]);
    expect(failed(refused.document)).toEqual([id]);
  });

  it.each(switches)('%s: %s', async (id, met) => {
    expect((await verify(report, met)).exit).toBe(0);
    const refused = await verify(poor, met);
    expect([refused.exit, failed(refused.document)]).toEqual([1, [id]]);
  });

  it('names an option for every check that was not asked', async () => {
    const { document } = await verify(report, '');
    const expectations = Object.entries(snpReportChecks).filter(([, { kind }]) => kind === 'expectation');
    expect(Object.keys(optionOfCheck).sort()).toEqual(expectations.map(([id]) => id).sort());
    for (const [id] of expectations) {
      const { status, hint } = document.checks.find((each) => each.id === id)!;
      expect([status, hint]).toEqual(['not-asked', `ask with ${optionOfCheck[id as 'report.data']}`]);
    }
    expect([...rows, ...switches].map(([id]) => id)).toEqual(
      expect.arrayContaining(Object.keys(optionOfCheck).filter((id) => id !== 'vek.csp-id')),
    );
  });

  it('compares the cloud operator of a VLEK', async () => {
    const lent = await evidence.report('lent.bin', { signingKey: 'VLEK' });
    const words = ['report', 'verify', lent, ...(await evidence.options('VLEK')), '--csp-id'];
    expect((await runJson<Document>([...words, 'CN=cc-test.vouchsafe.invalid'])).exit).toBe(0);
    const refused = await runJson<Document>([...words, 'CN=cc-us-east-2.amazonaws.com']);
    expect([refused.exit, failed(refused.document)]).toEqual([1, ['vek.csp-id']]);
  });

  it('takes expectations from a file, which options replace one by one', async () => {
    const policy = evidence.file(
      'policy.json',
      JSON.stringify({
        vmpl: 0,
        measurements: [hex(48, 0x3e)],
        policy: { smt: false, debug: false },
        minimumTcb: { reported: { snp: 24 }, launch: { snp: 99 } },
      }),
    );
    const refused = await verify(report, `--policy ${policy}`);
    expect(failed(refused.document)).toEqual(['report.vmpl', 'policy.smt', 'tcb.launch']);
    const accepted = await verify(
      report,
      `--policy ${policy} --vmpl 1 --policy-smt set --min-launch-tcb snp=24`,
    );
    expect([accepted.exit, failed(accepted.document)]).toEqual([0, []]);
    const asked = accepted.document.checks.filter(
      ({ id, status }) => id in optionOfCheck && status === 'pass',
    );
    expect(asked.map(({ id }) => id)).toEqual([
      'report.measurement',
      'report.vmpl',
      'policy.smt',
      'policy.debug',
      'tcb.reported',
      'tcb.launch',
    ]);
  });

  it.each([
    '--report-data 00',
    '--measurement zz',
    '--vmpl 4',
    '--min-tcb snp',
    '--min-tcb snp=256',
    '--min-tcb snp=1,snpSPL=2',
    '--min-tcb constructor=1',
    '--min-version 1',
    '--min-abi 1.256',
    '--chip-id 0102',
    `--chip-id ${hex(64, 0)}`,
    '--policy-smt on',
    '--platform-smt 1',
    '--guest-policy 0',
    '--guest-policy 0x8000000000020000',
    '--guest-policy 0x10000000000000000',
    `--trusted-id-key-hashes ${hex(47, 1)}`,
    `--trusted-id-key-hashes ${hex(48, 0)}`,
    '--signing-key vcek',
    '--product Naples',
    '--revocation maybe',
    '--at yesterday',
    '--at 2026-02-30',
    '--at 2026-03-01T10:00:00',
  ])('does not accept %s', async (words) => {
    const { exit, document, stderr } = await verify(report, words);
    const { error } = document as unknown as { error: { code: string; message: string } };
    expect([exit, stderr]).toEqual([2, '']);
    expect(['invalid-argument', 'malformed']).toContain(error.code);
    expect(error.message).not.toMatch(/\n\s+at /);
  });

  it('reads dates with their offset from UTC', async () => {
    const at = async (date: string) => (await verify(report, `--at ${date}`)).exit;
    expect(await at('2026-02-01T00:00:00Z')).toBe(0);
    expect(await at('2026-01-31T23:59:59Z')).toBe(1);
    expect(await at('2026-02-01T01:59:59+02:00')).toBe(1);
    expect(await at('2026-01-31T23:00:00-01:00')).toBe(0);
    expect(await at('2026-02-01')).toBe(0);
  });

  it('does not take a signature that was turned around', async () => {
    const turned = new Uint8Array(readFileSync(report));
    turned.set(reversed(turned.subarray(0x2a0, 0x2d0)), 0x2a0);
    const { exit, document } = await verify(evidence.file('turned.bin', turned), '');
    expect([exit, failed(document)]).toEqual([1, ['report.signature']]);
  });
});
