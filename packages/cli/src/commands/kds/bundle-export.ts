import { endorsementPath, exportBundle } from '@vouchsafe/kds';
import { InvalidArgumentError, UnavailableError } from '@vouchsafe/sev';
import { command, type Result } from '../../frame/command.js';
import { describeOutput, writeOutputs } from '../../frame/files.js';
import { argument, flag } from '../../frame/options.js';
import { keyServiceOptions, openKeyService } from './service.js';
import {
  chipIdOption,
  reportsOption,
  requestsOfOptions,
  requestsOfReport,
  subjectOptions,
  titleOf,
} from './subject.js';

export const bundleExport = command({
  description:
    'Writes all that verifying some reports takes from the key service into one file, for a machine without a network: ' +
    'certificates of the keys that signed, chains, revocation lists. What the cache does not hold is fetched first.',
  arguments: { file: argument('file', 'the bundle to write') },
  options: {
    ...keyServiceOptions,
    offline: flag('--offline', 'a promise: no network; only what the cache holds is taken'),
    report: reportsOption,
    chipId: chipIdOption,
    ...subjectOptions,
  },
  examples: [
    { line: 'kds bundle export site.json --report one.bin --report two.bin', explains: 'for two reports' },
    { line: 'kds bundle export milan.json --product Milan', explains: 'chain and revocation list alone' },
  ],
  async run(input, { io, progress }): Promise<Result> {
    const { file, kds, cache, offline, report: reports } = input;
    if (
      reports.length > 0 &&
      (input.chipId !== undefined || input.tcb !== undefined || input.key !== undefined)
    )
      throw new InvalidArgumentError(
        '--report',
        'it says chip, TCB version and kind of key: leave those out',
      );
    const wanted =
      reports.length === 0
        ? [requestsOfOptions(input)]
        : await Promise.all(reports.map((each) => requestsOfReport(each, input, io)));
    progress.step('gathering endorsements');
    const requests = wanted.flatMap(({ vek, chain, crl }) => [
      ...(vek === undefined ? [] : [vek]),
      chain,
      crl,
    ]);
    const bundle = await exportBundle(openKeyService({ url: kds, cache, offline }), requests);
    if (bundle.requests.length === 0) {
      throw new UnavailableError('key service', 'it has none of what was asked for', {
        hint: 'without --offline it is fetched; `kds fetch` says what is wrong with one of them',
      });
    }
    const output = { path: file, bytes: bundle.bytes };
    await writeOutputs([output], { overwrite: true });
    return {
      exit: 0,
      json: {
        entries: bundle.requests.map(endorsementPath),
        missing: bundle.missing.map(({ request }) => endorsementPath(request)),
        files: [describeOutput(output)],
      },
      render(screen) {
        screen.line(`Wrote ${file}: ${bundle.requests.length} entries, ${bundle.bytes.length} bytes`);
        for (const each of bundle.requests) screen.line(`  ${titleOf(each)}`);
        for (const { request, reason } of bundle.missing)
          screen.line(screen.paint('warning', `  Missing: ${titleOf(request)}: ${reason}`));
      },
    };
  },
});
