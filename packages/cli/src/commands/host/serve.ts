import { serveVirtualMachine } from '@vouchsafe/host';
import { InvalidArgumentError } from '@vouchsafe/sev';
import { command, type Result } from '../../frame/command.js';
import { readEncoded } from '../../frame/files.js';
import { number, path, required, withDefault, word } from '../../frame/options.js';
import { policyText } from '../policy/explain.js';
import { machineOptions, modeOf, openMachine, readConfiguration } from './machine.js';

export const serve = command({
  description:
    'Launches a guest on the software machine, stopped before its first instruction, and serves it on a QMP socket as ' +
    'qemu-system-x86_64 -S would: query-sev, query-sev-launch-measure, sev-inject-launch-secret, cont and the others.',
  arguments: {},
  options: {
    ...machineOptions,
    qmp: required(path('--qmp <socket>', 'unix socket to speak QMP on')),
    policy: withDefault(number('--policy <n>', 'guest policy', word), 0xb, '0xb'),
    dhCertFile: path(
      '--dh-cert-file <file>',
      'the owner’s certificate (NAME_godh.b64): no secret channel without it',
    ),
    sessionFile: path('--session-file <file>', 'the owner’s session (NAME_session.b64)'),
  },
  examples: [
    {
      line:
        'host serve --software .vouchsafe/processor --qmp vm.sock --policy 0xb --dh-cert-file vm_godh.b64 ' +
        '--session-file vm_session.b64 --kernel vmlinuz',
      explains: 'until quit comes over QMP, or Ctrl-C',
    },
  ],
  async run(input, { io }): Promise<Result> {
    const { policy, qmp, dhCertFile, sessionFile } = input;
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
      mode: modeOf(policy),
      policy,
      ...(channel === undefined ? {} : { channel }),
    } as const;
    const machine = await openMachine(input);
    const served = await serveVirtualMachine({ machine: machine.host, socketPath: qmp, configuration }).catch(
      async (error: unknown) => {
        await machine.close();
        throw error;
      },
    );
    served.machine?.onEvent((event) => {
      if (event.type === 'console') io.stderr.write(`guest: ${printable(event.line)}\n`);
    });
    return {
      exit: 0,
      json: { qmp, mode: configuration.mode, policy, channel: channel !== undefined },
      render(screen) {
        screen.line(
          `A ${configuration.mode} guest with policy ${policyText(policy)} waits on the QMP socket ${qmp}`,
        );
        if (channel === undefined) {
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

/** A guest chooses what it prints; a terminal should not obey it. */
export const printable = (line: string) => line.replaceAll(/\p{Cc}+/gu, ' ');
