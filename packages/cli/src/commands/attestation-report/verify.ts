import {
  type Appraisal,
  attestationReport,
  InvalidArgumentError,
  p384KeyOf,
  verdict,
  verifyAttestationReport,
  verifyPlatformChain,
} from '@vouchsafe/sev';
import { appraisalResult, withRefusals } from '../../frame/appraisal.js';
import { command } from '../../frame/command.js';
import { readEncoded } from '../../frame/files.js';
import { argument, argumentList, flag, hexOrBase64, number, required, word } from '../../frame/options.js';
import { chainOptions, readChain, readOwner, trustedRoots } from '../chain/input.js';

export const verify = command({
  description:
    'Verifies an attestation report of SEV or SEV-ES (query-sev-attestation-report) against its platform’s chain. Such a ' +
    'report proves what was launched and under which policy; any user of the host can ask for one.',
  arguments: {
    report: argument('report', 'the report: 208 bytes, raw, hexadecimal or base64'),
    files: argumentList('chain', 'certificates of the platform, in any usual packaging'),
  },
  options: {
    ...chainOptions,
    mnonce: required(
      hexOrBase64('--mnonce <hex>', 'the nonce that the report was asked for with: 16 bytes', 16),
    ),
    launchDigest: hexOrBase64(
      '--launch-digest <hex>',
      'the digest that must have been launched: 32 bytes',
      32,
    ),
    policy: number('--policy <n>', 'the policy that the guest must have', word),
    allowUnverified: flag('--allow-unverified', 'do not verify the chain: compare with its PEK alone'),
  },
  examples: [
    {
      line: 'attestation-report verify report.bin sev.chain --ca ask_ark.cert --mnonce 4fbe0bedbad6c86ae8f68971d103e554 --policy 0xb',
      explains: 'what sevctl validate does, with the nonce and the chain checked as well',
    },
  ],
  run: (input, { io }) =>
    withRefusals(async () => {
      const report = await readEncoded(input.report, 'attestation report', io, [attestationReport.size]);
      const chain = await readChain(input, io);
      if (chain.pek === undefined)
        throw new InvalidArgumentError('chain', 'holds no PEK certificate, which signs reports');
      const platform = input.allowUnverified
        ? undefined
        : await verifyPlatformChain(chain, {
            roots: await trustedRoots(input.root, io),
            owner: await readOwner(input.oca, io),
          });
      const verified = await verifyAttestationReport(report, p384KeyOf(chain.pek), {
        mnonce: input.mnonce,
        ...(input.launchDigest === undefined ? {} : { expectedDigest: input.launchDigest }),
        ...(input.policy === undefined ? {} : { policy: input.policy }),
      });
      return appraisalResult(joined(platform, verified));
    }),
});

/** The report is only worth what its platform is: both sets of checks, one verdict. */
function joined(platform: Appraisal | undefined, report: Appraisal): Appraisal {
  if (platform === undefined) return report;
  const rooted = verdict(platform).accepted && platform.root !== undefined ? { root: platform.root } : {};
  return { subject: report.subject, ...rooted, checks: [...report.checks, ...platform.checks] };
}
