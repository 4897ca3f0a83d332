import { explainGuestPolicy, type PolicyStatement } from '@vouchsafe/sev';
import { command, type Result } from '../../frame/command.js';
import { numberArgument, word } from '../../frame/options.js';
import type { Screen } from '../../frame/screen.js';

export const explain = command({
  description:
    'Says in words what a guest policy of SEV or SEV-ES lets a host do. The policy is a number of 32 bits, as QEMU, ' +
    'libvirt and the launch session take it.',
  arguments: { policy: numberArgument('policy', 'the policy, decimal or 0x…', word) },
  options: {},
  examples: [
    { line: 'policy explain 0x1', explains: 'QEMU’s default: no debugging, and everything else allowed' },
    { line: 'policy explain 0x2f', explains: 'SEV-ES, no debugging, no key sharing, no migration' },
  ],
  async run({ policy }): Promise<Result> {
    const statements = explainGuestPolicy(policy);
    const hex = policyText(policy);
    return {
      exit: 0,
      json: { policy, hex, statements },
      render(screen) {
        screen.line(`policy ${screen.paint('strong', hex)} (${policy})`);
        screen.line();
        showPolicy(screen, statements);
      },
    };
  },
});

export const policyText = (policy: number) => `0x${policy.toString(16)}`;

/** The statements as a table; what is left open to the host stands out. */
export function showPolicy(screen: Screen, statements: readonly PolicyStatement[]): void {
  const meanings = { open: 'warning', closed: 'good', info: 'quiet' } as const;
  screen.table(
    ['bit', 'set', '', 'what follows'],
    statements.map(({ label, set, concern, consequence }) => [
      label,
      set ? 'yes' : 'no',
      screen.paint(meanings[concern], concern === 'info' ? '' : concern),
      consequence,
    ]),
  );
}
