import { InvalidArgumentError } from '@vouchsafe/sev';
import { runDemo, type Scenario, scenarios } from '../demo/index.js';
import { command } from '../frame/command.js';
import { number, optionalArgument, path } from '../frame/options.js';

export const demo = command({
  description:
    'Runs one flow from end to end on software machines, each role in a process of its own, and narrates every message ' +
    `with its size, its digest and who can read it. Scenarios: ${scenarios.join(', ')}; without one, the three launches. ` +
    'Nothing is left behind.',
  arguments: { scenario: optionalArgument('scenario', scenarios.join(' | ')) },
  options: {
    starts: number('--starts <n>', 'machines that containers starts, one after the other (default: 1)', {
      least: 1,
      most: 1000,
    }),
    authority: path(
      '--authority <dir>',
      'development authority to use, and to make if it is not there (default: a new one each time, which takes seconds)',
    ),
  },
  examples: [
    { line: 'demo sev-es', explains: 'a SEV-ES guest gets its disk key' },
    { line: 'demo snp', explains: 'a SEV-SNP guest proves what it is, and seals its disk to its place' },
    { line: 'demo broker', explains: 'a key broker denies, explains, and releases once it is told' },
    {
      line: 'demo containers --starts 50',
      explains: 'an encrypted image, opened in fifty short-lived machines; how long attestation takes',
    },
    { line: 'demo boot', explains: 'a measured boot unlocks its disk; one with a byte changed does not' },
    { line: 'demo attacks', explains: 'what hostile hosts and clients could try, and who refuses it' },
  ],
  async run({ scenario, starts, authority }, context) {
    const chosen = readScenario(scenario);
    if (starts !== undefined && chosen !== 'containers' && chosen !== 'all')
      throw new InvalidArgumentError('--starts', 'it is for the scenario containers');
    return runDemo(chosen, context, { starts, authority });
  },
});

function readScenario(given: string | undefined): Scenario | undefined {
  if (given === undefined) return undefined;
  const found = scenarios.find((each) => each === given);
  if (found === undefined)
    throw new InvalidArgumentError('scenario', `expected one of ${scenarios.join(', ')}`);
  return found;
}
