import {
  type Appraisal,
  parseReportPolicy,
  type SnpEndorsements,
  type SnpReportCheck,
  verifyReport,
} from '@vouchsafe/sev';
import { appraisalResult } from '../../frame/appraisal.js';
import { command } from '../../frame/command.js';
import { readInput } from '../../frame/files.js';
import { argument, choice, flag, grouped, instant, path, withDefault } from '../../frame/options.js';
import { endorsementOptions, readEndorsements, trustedRoots } from './endorsement-options.js';
import { readEvidence } from './evidence-file.js';
import { expectationOptions, optionOfCheck } from './expectation-options.js';
import { readExpectations } from './expectations.js';

export const verify = command({
  description:
    'Verifies an attestation report of SEV-SNP: its certificates down to one of AMD’s roots, its signature, what no ' +
    'careful owner would want, and what you expect. Takes reports as tools write them, raw, hexadecimal or base64, with ' +
    'or without their certificates. Nothing is fetched unless --kds says so. Without an expectation an accepted report is ' +
    'called authentic, and no more.',
  arguments: { file: argument('file', 'the report, in any usual packaging; - is standard input') },
  options: {
    at: instant('--at <date>', 'date to verify at, ISO 8601 (default: now)'),
    revocation: withDefault(
      choice('--revocation <mode>', 'what to do about revocation lists', [
        'require',
        'if-available',
        'skip',
      ] as const),
      'if-available',
    ),
    offline: flag('--offline', 'a promise: no network; with --kds, only what its cache holds is used'),
    policy: path(
      '--policy <file>',
      'expectations and allowances, a JSON document; options here replace its own',
    ),
    ...endorsementOptions,
    ...grouped('What no careful owner would want, allowed by name', {
      allowDebug: flag('--allow-debug', 'a guest whose memory the host can read and change'),
      allowMigrationAgent: flag('--allow-migration-agent', 'a migration agent that is bound to the guest'),
      allowProvisional: flag('--allow-provisional', 'firmware that is not committed, as some clouds run'),
      acceptNewerVersions: flag(
        '--accept-newer-versions',
        'reports of versions that are not published yet, read as the newest that is',
      ),
    }),
    ...expectationOptions,
  },
  examples: [
    {
      line: 'report verify report.bin --vek vcek.der --chain cert_chain.pem --measurement HEX --report-data HEX',
      explains: 'files only; the nonce is in the report data',
    },
    { line: 'report verify report.bin --kds amd --revocation require', explains: 'the rest comes from AMD' },
    {
      line: 'report verify outblob --certs auxblob --policy expected.json --offline',
      explains: 'what configfs-tsm gave, against a file of expectations',
    },
  ],
  async run(input, { io, progress }) {
    const evidence = await readEvidence(input.file, io);
    const roots = await trustedRoots(input.root, io);
    const file =
      input.policy === undefined
        ? { expectations: {} }
        : parseReportPolicy(new TextDecoder().decode(await readInput(input.policy, 'policy file', io)));
    const expectations = await readExpectations(input, file.expectations, io);
    const given = await readEndorsements(input, evidence, io);
    const endorsements: SnpEndorsements & { readonly notes?: readonly string[] } =
      input.kds === undefined ? given : await fromService(evidence.report, given);
    const { notes = [], ...files } = endorsements;
    const appraisal = await verifyReport(
      { report: evidence.report, ...files },
      {
        roots,
        at: input.at ?? Date.now(),
        revocation: input.revocation,
        expectations,
        allowDebug: input.allowDebug || file.allowDebug,
        allowMigrationAgent: input.allowMigrationAgent || file.allowMigrationAgent,
        allowProvisional: input.allowProvisional || file.allowProvisional,
        acceptNewerVersions: input.acceptNewerVersions,
      },
    );
    return appraisalResult(withOptionNames(appraisal), {
      apart: true,
      json: { form: evidence.form, notes },
      render(screen) {
        for (const note of notes) screen.line(`\nnote: ${note}`);
      },
    });

    async function fromService(report: Uint8Array, present: SnpEndorsements) {
      const { openKeyService } = await import('../kds/service.js');
      const { fetchMissing } = await import('./fetch-missing.js');
      progress.step(`asking ${input.kds}`);
      const service = openKeyService({ url: input.kds, cache: input.cache, offline: input.offline });
      const [line] = input.product.length === 1 ? input.product : [];
      return fetchMissing(service, report, present, { revocation: input.revocation, line });
    }
  },
});

/** A check that was not asked says which option asks for it here. */
function withOptionNames(appraisal: Appraisal): Appraisal {
  const checks = appraisal.checks.map((check) => {
    const option = check.status === 'not-asked' ? optionOfCheck[check.id as SnpReportCheck] : undefined;
    return option === undefined ? check : { ...check, hint: `ask with ${option}` };
  });
  return { ...appraisal, checks };
}
