import type { SnpMachine } from '../launch/launcher.js';
import { type QmpCommand, QmpRefusal, qmpCommand } from './commands.js';
import { type ServedMachine, sevCommandsOf } from './sev-commands.js';

/**
 * The same commands in a QEMU that runs a SEV-SNP guest (qemu 9.1 and later): there is no measurement to ask the host for,
 * no secret to inject and no report to make, because the guest does that itself.
 */
export function snpCommandsOf(
  { platform, capabilities }: Omit<ServedMachine, 'machine'>,
  machine: SnpMachine,
): Readonly<Record<string, QmpCommand>> {
  return {
    ...sevCommandsOf({ platform, capabilities }),
    'query-sev': qmpCommand({}, async () => {
      const { apiMajor, apiMinor, buildId, policy, state } = await machine.information();
      return {
        enabled: true,
        'api-major': apiMajor,
        'api-minor': apiMinor,
        'build-id': buildId,
        state,
        'sev-type': 'sev-snp',
        'snp-policy': Number(policy),
      };
    }),
    'sev-inject-launch-secret': qmpCommand(
      {
        'packet-header': { type: 'string' },
        secret: { type: 'string' },
        gpa: { type: 'uint64', optional: true },
      },
      async () => {
        const { state } = await machine.information();
        throw new QmpRefusal(`SEV: Not in correct state. (LSECRET) ${stateNumbers[state]}`);
      },
    ),
  };
}

/** SevState of QAPI, by which QEMU prints a state. */
const stateNumbers = { uninit: 0, 'launch-update': 1, running: 3 } as const;
