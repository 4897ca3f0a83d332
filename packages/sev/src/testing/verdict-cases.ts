import { toBase64 } from '../bytes.js';
import { readCertificates } from '../x509/files.js';
import { jsonVector, vectors } from './vectors.js';
import type { PortableCase, PortableResult } from './verdict-suite.js';

interface VerdictCase {
  readonly report: string;
  readonly vek: string;
  readonly chain: string;
  readonly at: string;
  readonly flags: readonly ('--allow-debug' | '--allow-provisional')[];
  readonly with_flags: string;
  readonly without_flags: string;
  readonly after_expiry: { readonly at: string; readonly verdict: string };
}

const allowances = {
  '--allow-debug': { allowDebug: true },
  '--allow-provisional': { allowProvisional: true },
} as const;
const refusals = { '--allow-debug': 'guest.debug', '--allow-provisional': 'firmware.committed' } as const;

/** Every published verdict, with a changed report and a changed VEK beside, as any runtime can be asked for it. */
export function portableCases(): { readonly ask: PortableCase; readonly answer: PortableResult }[] {
  const { cases } = jsonVector<{ cases: VerdictCase[] }>('snp/verdicts.json');
  return cases.flatMap((each) => {
    const { report: name, flags } = each;
    const report = vectors(`snp/reports/${name}`);
    const vek = readCertificates(vectors(`snp/reports/${each.vek}`))[0]!.raw;
    const certificates = [toBase64(vectors(`snp/certs/${each.chain}`))];
    const line = /chain_(\w+?)(?:-vlek)?\.pem/.exec(each.chain)![1]!;
    const root = `AMD, ${line.charAt(0).toUpperCase()}${line.slice(1)}`;
    const row = (
      what: string,
      failed: readonly string[],
      changes: Partial<PortableCase> & { readonly root?: undefined },
    ) => ({
      ask: {
        name: `${name} ${what}`,
        report: toBase64(report),
        vek: toBase64(vek),
        certificates,
        at: Date.parse(each.at),
        allowances: Object.assign({}, ...flags.map((flag) => allowances[flag])),
        ...changes,
      },
      answer: {
        name: `${name} ${what}`,
        word: failed.length === 0 ? 'authentic' : 'refused',
        root: 'root' in changes ? undefined : root,
        failed,
      },
    });
    return [
      row('with its flags', [], {}),
      row(
        'without flags',
        flags.map((flag) => refusals[flag]),
        { allowances: {} },
      ),
      row('after expiry', ['endorsement.vek.validity'], {
        at: Date.parse(each.after_expiry.at),
        root: undefined,
      }),
      row('with another measurement', ['report.signature'], {
        report: toBase64(flipped(report, 0x90)),
        root: undefined,
      }),
      row('with another signature of its VEK', ['endorsement.vek.ask-signature'], {
        vek: toBase64(flipped(vek, vek.length - 100)),
        root: undefined,
      }),
    ];
  });
}

function flipped(bytes: Uint8Array, at: number): Uint8Array {
  return bytes.map((byte, i) => (i === at ? byte ^ 1 : byte));
}
