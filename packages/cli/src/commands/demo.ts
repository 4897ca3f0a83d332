import { InvalidArgumentError } from '@vouchsafe/sev';
import { runDemo, type Scenario, scenarios } from '../demo/index.js';
import { command } from '../frame/command.js';
import { optionalArgument } from '../frame/options.js';

export const demo = command({
  description:
    'Runs one flow from end to end on software machines, each role in a process of its own, and narrates every message ' +
    `with its size, its digest and who can read it. Scenarios: ${scenarios.join(', ')}; without one, the three launches. ` +
    'Nothing is left behind.',
  arguments: { scenario: optionalArgument('scenario', scenarios.join(' | ')) },
  options: {},
  examples: [
    { line: 'demo sev-es', explains: 'a SEV-ES guest gets its disk key' },
    { line: 'demo snp', explains: 'a SEV-SNP guest proves what it is, and seals its disk to its place' },
    { line: 'demo broker', explains: 'a key broker denies, explains, and releases once it is told' },
    { line: 'demo attacks', explains: 'what a hostile host could try, and who refuses it' },
  ],
  run: ({ scenario }, context) => runDemo(readScenario(scenario), context),
});

function readScenario(given: string | undefined): Scenario | undefined {
  if (given === undefined) return undefined;
  const found = scenarios.find((each) => each === given);
  if (found === undefined)
    throw new InvalidArgumentError('scenario', `expected one of ${scenarios.join(', ')}`);
  return found;
}
