import {
  type Appraisal,
  appraisalToJson,
  describeSnpReport,
  endorse,
  parseSnpReport,
  productLines,
  reportForLine,
  type SnpAttestationReport,
  type SnpEndorsements,
  type SnpReportRow,
  VouchsafeError,
  verdict,
  verifyReport,
} from '@vouchsafe/sev';
import { command, type Result } from '../../frame/command.js';
import { argument, choice, flag, instant } from '../../frame/options.js';
import type { Screen } from '../../frame/screen.js';
import { endorsementOptions, readEndorsements, trustedRoots } from './endorsement-options.js';
import { readEvidence } from './evidence-file.js';

const { kds: _kds, cache: _cache, crl: _crl, ...fileOptions } = endorsementOptions;

export const show = command({
  description:
    'Shows an attestation report of SEV-SNP: every field with its name, its value and its meaning in words, and a mark ' +
    'where a careful reader should stop. Given certificates, it names the root that the report leads to. It judges ' +
    'nothing: `report verify` does.',
  arguments: { file: argument('file', 'the report, in any usual packaging; - is standard input') },
  options: {
    ...fileOptions,
    at: instant('--at <date>', 'date at which the certificates must be valid, ISO 8601 (default: now)'),
    product: choice('--product <line>', 'product line, for reports that do not say it', productLines),
    acceptNewerVersions: flag(
      '--accept-newer-versions',
      'read versions that are not published yet as the newest that is',
    ),
    offsets: flag('--offsets', 'show where in the report each field stands'),
  },
  examples: [
    { line: 'report show report.bin', explains: 'the page that a person learns from' },
    {
      line: 'report show report.bin --vek vcek.der --chain cert_chain.pem',
      explains: 'with the root that it leads to',
    },
  ],
  async run(input, { io }): Promise<Result> {
    const { product: line, acceptNewerVersions, offsets } = input;
    const { report: bytes, form, ...carried } = await readEvidence(input.file, io);
    const parsed = parseSnpReport(bytes, { line, acceptNewerVersions });
    const endorsements = await readEndorsements(
      { ...input, kds: undefined, cache: undefined, crl: [] },
      { report: bytes, form, ...carried },
      io,
    );
    const roots = await trustedRoots(input.root, io);
    const dated = { roots, at: input.at ?? Date.now(), revocation: 'skip' } as const;
    const appraisal = hasCertificates(endorsements)
      ? await verifyReport({ report: bytes, ...endorsements }, { ...dated, acceptNewerVersions })
      : undefined;
    const report =
      appraisal === undefined ? parsed : onItsLine(parsed, (await endorse(endorsements, dated)).vek?.line);
    const rows = describeSnpReport(report);
    const root = appraisal?.root ?? null;
    return {
      exit: 0,
      json: {
        form,
        version: report.version,
        productLine: report.line ?? null,
        root,
        fields: rows,
        notes: report.notes,
        verification: appraisal === undefined ? null : appraisalToJson(appraisal),
      },
      render(screen) {
        const of = report.line === undefined ? '' : ` of ${report.line}`;
        screen.line(screen.paint('strong', `SEV-SNP attestation report${of}, version ${report.version}`));
        screen.line(`  read from: ${form}`);
        for (const sentence of rootSentences(screen, appraisal)) screen.line(`  ${sentence}`);
        for (const row of rows) showRow(screen, row, offsets);
        screen.line();
        const marked = rows.filter(({ surprising }) => surprising !== undefined).map(({ label }) => label);
        screen.line(
          marked.length === 0 ? 'Nothing is surprising.' : `Marked with “!”: ${marked.join('; ')}.`,
        );
      },
    };
  },
});

function hasCertificates({ vek, certificates = [], certificateTable }: SnpEndorsements): boolean {
  return vek !== undefined || certificates.length > 0 || certificateTable !== undefined;
}

/** The certificate knows the product line where a report does not say it. One of another line is for `verify` to refuse. */
function onItsLine(report: SnpAttestationReport, line: SnpAttestationReport['line']): SnpAttestationReport {
  if (line === undefined) return report;
  try {
    return reportForLine(report, line);
  } catch (error) {
    if (error instanceof VouchsafeError) return report;
    throw error;
  }
}

function rootSentences(screen: Screen, appraisal: Appraisal | undefined): string[] {
  if (appraisal === undefined) {
    return ['root: not known, as no certificate was given; whatever follows may be anybody’s invention'];
  }
  const [first, ...others] = verdict(appraisal).failed;
  const more = others.length === 0 ? '' : `, and ${others.length} more`;
  const reasons =
    first === undefined ? [] : [`${screen.paint('bad', 'failed')}: ${first.title} (${first.id})${more}`];
  if (appraisal.root === undefined)
    return [`root: ${screen.paint('bad', 'none')}; the report is not proved genuine`, ...reasons];
  const { name, kind } = appraisal.root;
  const note = kind === 'development' ? ' (a development root: no hardware stands behind it)' : '';
  return [
    `root: ${screen.paint(kind === 'development' ? 'warning' : 'strong', name)}${note}`,
    'revocation lists were not asked; `report verify` does',
    ...reasons,
  ];
}

function showRow(screen: Screen, row: SnpReportRow, offsets: boolean): void {
  const { label, offset, size, value, meaning, details = [], surprising } = row;
  const place = offsets
    ? `${screen.paint('quiet', `0x${offset.toString(16).padStart(3, '0')}, ${size}`)}  `
    : '';
  screen.line();
  screen.line(`${place}${screen.paint('strong', label)}  ${value}`);
  screen.line(`    ${screen.paint('quiet', meaning)}`);
  for (const detail of details) screen.line(`    - ${detail}`);
  if (surprising !== undefined) screen.line(`  ${screen.paint('warning', `! ${surprising}`)}`);
}
