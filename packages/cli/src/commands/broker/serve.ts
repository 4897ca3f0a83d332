import { command, type Result } from '../../frame/command.js';
import {
  choice,
  flag,
  grouped,
  number,
  path,
  repeated,
  text,
  withDefault,
  word,
} from '../../frame/options.js';
import { dataOption } from './data-folder.js';

export const serve = command({
  description:
    'Serves the key broker of a folder: guests of SEV-SNP attest and get what its policies release to them, ' +
    'administrators set it up. With --policy instead: answers hosts as a guest owner for one kind of launch of SEV or ' +
    'SEV-ES, with everything in memory.',
  arguments: {},
  options: {
    ...dataOption,
    listen: text('--listen <address>', 'HOST:PORT or unix:PATH, instead of the one in the set-up'),
    acceptClock: flag(
      '--accept-clock',
      'go on although the broker has seen a later time; the record says so',
    ),
    log: withDefault(
      choice('--log <level>', 'what goes to standard error', [
        'silent',
        'error',
        'warn',
        'info',
        'debug',
      ] as const),
      'warn',
    ),
    ...grouped('A guest owner in memory, before launch', {
      policy: number('--policy <n>', 'guest policy of every launch', word),
      firmware: path('--firmware <file>', 'firmware image that may be launched'),
      kernel: path('--kernel <file>', 'kernel of a measured direct boot'),
      initrd: path('--initrd <file>', 'its initrd'),
      append: text('--append <text>', 'its command line'),
      vcpus: repeated(
        number('--vcpus <n>', 'number of virtual CPUs that is welcome (SEV-ES)', { least: 1, most: 4096 }),
      ),
      vcpuType: repeated(text('--vcpu-type <type>', 'CPU model that is welcome (SEV-ES)')),
      secret: repeated(text('--secret <guid:file>', 'what a launch gets that was accepted')),
      root: path('--root <file>', 'trust this development root (an ARK certificate) instead of AMD’s roots'),
      oca: path('--oca <file>', 'certificate of the only platform owner whose machines are welcome'),
      kds: text('--kds <url>', 'key service to ask for chips (case A); "amd" is AMD’s'),
      host: withDefault(text('--host <address>', 'address to listen on'), '127.0.0.1'),
      port: withDefault(number('--port <n>', 'port to listen on; 0 takes a free one', { most: 65535 }), 0),
      socket: path('--socket <path>', 'listen on this unix socket instead'),
      allowDebug: flag('--allow-debug', 'allow a policy that lets the host debug the guest'),
      allowKeySharing: flag(
        '--allow-key-sharing',
        'allow a policy that lets other guests share the memory key',
      ),
      allowMigrationToAnyone: flag(
        '--allow-migration-to-anyone',
        'allow a policy that lets the host migrate the guest anywhere',
      ),
      allowApiBelow017: flag(
        '--allow-api-below-0.17',
        'accept firmware that does not bind its version into the measurement',
      ),
    }),
  },
  examples: [
    { line: 'broker serve', explains: 'the broker that `broker init` made, until Ctrl-C' },
    {
      line: 'broker serve --policy 0xb --firmware OVMF.fd --secret luks-key:disk.key --kds amd --port 8443',
      explains: 'a guest owner; hosts ask for sessions at the printed address',
    },
  ],
  async run(input, { io }): Promise<Result> {
    const { policy } = input;
    if (policy === undefined) {
      const { serveFolder } = await import('./serve-folder.js');
      return serveFolder(input, io);
    }
    const { serveOwner } = await import('./serve-owner.js');
    return serveOwner({ ...input, policy }, io);
  },
});
