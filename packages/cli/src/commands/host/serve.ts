import { serveVirtualMachine } from '@vouchsafe/host';
import { InvalidArgumentError } from '@vouchsafe/sev';
import { command, type Result } from '../../frame/command.js';
import { readEncoded } from '../../frame/files.js';
import type { Io } from '../../frame/io.js';
import { path, required, wideNumber } from '../../frame/options.js';
import { processorOptions } from '../platform/processor.js';
import { policyText } from '../policy/explain.js';
import { machineOptions, modeOf, openMachine, readConfiguration } from './machine.js';
import { openSnpMachine, tellSelf } from './snp-machine.js';
import { readSnpConfiguration, requireFitting, snpOptions } from './snp-options.js';

export const serve = command({
  description:
    'Launches a guest on the software machine, stopped before its first instruction, and serves it on a QMP socket as ' +
    'qemu-system-x86_64 -S would: query-sev, query-sev-launch-measure, sev-inject-launch-secret, cont and the others.',
  arguments: {},
  options: {
    ...machineOptions,
    qmp: required(path('--qmp <socket>', 'unix socket to speak QMP on')),
    authority: processorOptions.authority,
    policy: wideNumber('--policy <n>', 'guest policy (default: 0xb, for SEV-SNP 0x30000)'),
    dhCertFile: path(
      '--dh-cert-file <file>',
      'the owner’s certificate (NAME_godh.b64): no secret channel without it',
    ),
    sessionFile: path('--session-file <file>', 'the owner’s session (NAME_session.b64)'),
    ...snpOptions,
  },
  examples: [
    {
      line:
        'host serve --software .vouchsafe/processor --qmp vm.sock --policy 0xb --dh-cert-file vm_godh.b64 ' +
        '--session-file vm_session.b64 --kernel vmlinuz',
      explains: 'until quit comes over QMP, or Ctrl-C',
    },
    {
      line: 'host serve --mode snp --software .vouchsafe/processor --qmp vm.sock --id-block id.block --id-auth id.auth',
      explains: 'a SEV-SNP guest, as QEMU 9.1 serves one',
    },
  ],
  async run(input, { io }): Promise<Result> {
    const { qmp, dhCertFile, sessionFile } = input;
    requireFitting(input, { '--dh-cert-file': dhCertFile, '--session-file': sessionFile });
    const { machine, configuration } =
      input.mode === 'snp' ? await snpGuest(input, io) : await sevGuest(input, io);
    const served = await serveVirtualMachine({ machine: machine.host, socketPath: qmp, configuration }).catch(
      async (error: unknown) => {
        await machine.close();
        throw error;
      },
    );
    const { mode, policy } = configuration;
    const channel = 'channel' in configuration;
    served.machine?.onEvent((event) => {
      if (event.type === 'console') io.stderr.write(`guest: ${printable(event.line)}\n`);
    });
    return {
      exit: 0,
      json: { qmp, mode, policy: typeof policy === 'bigint' ? `0x${policy.toString(16)}` : policy, channel },
      render(screen) {
        screen.line(`A ${mode} guest with policy ${policyText(policy)} waits on the QMP socket ${qmp}`);
        if (mode !== 'snp' && !channel) {
          screen.line(
            screen.paint(
              'warning',
              'No owner’s session: its measurement proves nothing, and anyone can make secrets for it.',
            ),
          );
        }
      },
      async stay(stop) {
        const stopped = new Promise((resolve) => stop.addEventListener('abort', resolve, { once: true }));
        await Promise.race([served.finished, stopped]);
        await served.close();
        await machine.close();
      },
    };
  },
});

type Input = Parameters<typeof openMachine>[0] &
  Parameters<typeof readConfiguration>[0] &
  Parameters<typeof readSnpConfiguration>[0] & {
    readonly authority: string | undefined;
    readonly dhCertFile: string | undefined;
    readonly sessionFile: string | undefined;
  };

async function snpGuest(input: Input, io: Io) {
  const configuration = {
    ...(await readConfiguration(input, io)),
    ...(await readSnpConfiguration(input, io)),
  };
  const { machine, certificateTable } = await openSnpMachine(input, tellSelf);
  return { machine, configuration: { ...configuration, certificateTable } };
}

async function sevGuest(input: Input, io: Io) {
  const { policy = 0xbn, dhCertFile, sessionFile } = input;
  if (policy > 0xffff_ffffn) throw new InvalidArgumentError('--policy', 'expected a number of 32 bits');
  if ((dhCertFile === undefined) !== (sessionFile === undefined)) {
    throw new InvalidArgumentError(
      dhCertFile === undefined ? '--dh-cert-file' : '--session-file',
      'give both or neither',
    );
  }
  const channel =
    dhCertFile === undefined || sessionFile === undefined
      ? undefined
      : {
          godhCertificate: await readEncoded(dhCertFile, 'owner’s certificate', io, [0x824]),
          session: await readEncoded(sessionFile, 'owner’s session', io, [0x80]),
        };
  const configuration = {
    ...(await readConfiguration(input, io)),
    mode: modeOf(Number(policy)),
    policy: Number(policy),
    ...(channel === undefined ? {} : { channel }),
  } as const;
  return { machine: await openMachine(input), configuration };
}

/** A guest chooses what it prints; a terminal should not obey it. */
export const printable = (line: string) => line.replaceAll(/\p{Cc}+/gu, ' ');
