import {
  explainGuestPolicy,
  explainSnpPolicy,
  InvalidArgumentError,
  type PolicyStatement,
} from '@vouchsafe/sev';
import { command, type Result } from '../../frame/command.js';
import { flag, wideNumberArgument } from '../../frame/options.js';
import type { Screen } from '../../frame/screen.js';

type Kind = 'SEV' | 'SEV-SNP';

export const explain = command({
  description:
    'Says in words what a guest policy lets a host do. The policies of SEV and SEV-ES have 32 bits, those of SEV-SNP 64, ' +
    'of which bit 17 is always set. A number that has more than 32 bits or bit 17 is read as one of SEV-SNP, any other ' +
    'as one of SEV: in a policy of SEV, bit 17 would ask for a firmware API that does not exist.',
  arguments: { policy: wideNumberArgument('policy', 'the policy, decimal or 0x…') },
  options: {
    snp: flag('--snp', 'read it as a policy of SEV-SNP'),
    sev: flag('--sev', 'read it as a policy of SEV or SEV-ES'),
  },
  examples: [
    {
      line: 'policy explain 0x1',
      explains: 'QEMU’s default for SEV: no debugging, and everything else allowed',
    },
    { line: 'policy explain 0x2f', explains: 'SEV-ES, no debugging, no key sharing, no migration' },
    { line: 'policy explain 0x30000', explains: 'the usual policy of SEV-SNP' },
  ],
  async run({ policy, snp, sev }): Promise<Result> {
    const kind = kindOf(policy, { snp, sev });
    const statements = kind === 'SEV-SNP' ? explainSnpPolicy(policy) : explainGuestPolicy(Number(policy));
    const hex = policyText(policy);
    return {
      exit: 0,
      json: { policy: numberOrText(policy), hex, kind, statements },
      render(screen) {
        screen.line(`${kind} policy ${screen.paint('strong', hex)} (${policy})`);
        screen.line();
        showPolicy(screen, statements);
      },
    };
  },
});

const sevBits = 32n;
/** Firmware of SEV-SNP launches no guest without it. */
const snpMark = 1n << 17n;

function kindOf(policy: bigint, { snp, sev }: { readonly snp: boolean; readonly sev: boolean }): Kind {
  const wide = policy >= 1n << sevBits;
  if (snp && sev) throw new InvalidArgumentError('--snp', 'give either it or --sev');
  if (sev && wide) {
    throw new InvalidArgumentError(
      '--sev',
      `a policy of SEV has ${sevBits} bits, and ${policyText(policy)} has more`,
    );
  }
  return snp || (!sev && (wide || (policy & snpMark) !== 0n)) ? 'SEV-SNP' : 'SEV';
}

/** JSON readers round larger numbers; as text nothing is lost. */
const numberOrText = (value: bigint) =>
  value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value.toString();

export const policyText = (policy: number | bigint) => `0x${policy.toString(16)}`;

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
