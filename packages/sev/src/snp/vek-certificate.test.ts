import { expect, test } from 'vitest';
import { toHex } from '../bytes.js';
import { describeWithVectors, jsonVector, vectors } from '../testing/vectors.js';
import { readCertificates } from '../x509/files.js';
import { timeText } from '../x509/time.js';
import type { TcbVersion } from './tcb-version.js';
import { parseVek } from './vek-certificate.js';

const veks = [
  'genoa-v3-tsm.vcek.pem',
  'genoa-v5-siena.vcek.der',
  'milan-v2-debug.vcek.der',
  'milan-v2-idblock.vcek.der',
  'milan-v3-oak.vcek.der',
  'milan-v3-vlek-aws.vlek.der',
  'turin-v5-azure.vcek.pem',
] as const;

interface Expected {
  readonly product: string;
  readonly report: { readonly reportedTcb: TcbVersion; readonly chipId: string };
  readonly vek: {
    readonly kind: string;
    readonly notBefore: string;
    readonly notAfter: string;
    readonly extensions: Readonly<Record<string, string>>;
  };
}

describeWithVectors('real VEKs', () => {
  test.each(veks)('%s reads as expected', (file) => {
    const expected = jsonVector<Expected>(`snp/reports/${file.split('.')[0]}.json`);
    const [certificate] = readCertificates(vectors(`snp/reports/${file}`));
    const vek = parseVek(certificate!);
    const { extensions } = expected.vek;
    const text = (suffix: string) =>
      new TextDecoder().decode(Buffer.from(extensions[suffix] ?? '', 'hex').subarray(2));
    expect(vek).toEqual({
      kind: expected.vek.kind,
      line: expected.product,
      productName: text('2'),
      tcb: expected.report.reportedTcb,
      ...(expected.vek.kind === 'VCEK'
        ? { hwid: new Uint8Array(Buffer.from(extensions['4'] ?? '', 'hex')) }
        : { cspId: text('5') }),
    });
    if (vek.hwid !== undefined) expect(expected.report.chipId.startsWith(toHex(vek.hwid))).toBe(true);
    expect(timeText(certificate!.notBefore)).toBe(expected.vek.notBefore);
    expect(timeText(certificate!.notAfter)).toBe(expected.vek.notAfter);
    const values = certificate!.extensions.map(({ oid, value }) => [
      oid.slice('1.3.6.1.4.1.3704.1.'.length),
      toHex(value),
    ]);
    expect(Object.fromEntries(values)).toEqual(extensions);
    expect(values).toHaveLength(Object.keys(extensions).length);
  });
});
