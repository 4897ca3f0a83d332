import {
  createGuestOwner,
  describeExpectedLaunches,
  type OwnerDecision,
  serveGuestOwner,
} from '@vouchsafe/broker';
import { InvalidArgumentError, systemRandom, toHex } from '@vouchsafe/sev';
import { command, type Result } from '../../frame/command.js';
import { flag, number, path, repeated, required, text, withDefault, word } from '../../frame/options.js';
import { readOwner, trustedRoots } from '../chain/input.js';
import { openKeyService } from '../kds/service.js';
import { readBootFiles, readFirmware } from '../launch-inputs.js';
import { policyText } from '../policy/explain.js';
import { readSecretEntry, type SecretEntry } from '../secret/entries.js';
import { untilStopped } from '../stay.js';

export const serve = command({
  description:
    'Answers hosts as the guest owner: verifies their platform, opens a launch session, judges the measurement against ' +
    'digests that it computes from the images itself, and only then releases the secrets.',
  arguments: {},
  options: {
    policy: required(number('--policy <n>', 'guest policy of every launch', word)),
    firmware: required(path('--firmware <file>', 'firmware image that may be launched')),
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
  },
  examples: [
    {
      line: 'broker serve --policy 0xb --firmware OVMF.fd --secret luks-key:disk.key --kds amd --port 8443',
      explains: 'until Ctrl-C; hosts ask for sessions at the printed address',
    },
  ],
  async run(input, { io }): Promise<Result> {
    const { policy, socket, kds } = input;
    if (input.secret.length === 0) throw new InvalidArgumentError('--secret', 'at least one has to be given');
    const boot = await readBootFiles(
      { kernel: input.kernel, initrd: input.initrd, commandLine: input.append },
      { initrd: '--initrd', commandLine: '--append' },
      io,
    );
    const { kernel, initrd, append: commandLine } = boot;
    const secrets: SecretEntry[] = [];
    for (const each of input.secret) secrets.push(await readSecretEntry(each, io));
    const ownerCertificate = await readOwner(input.oca, io);
    const owner = await createGuestOwner({
      policy,
      images: [
        {
          name: input.firmware,
          firmware: await readFirmware(input.firmware, io),
          ...(kernel === undefined
            ? {}
            : {
                directBoot: {
                  kernel,
                  ...(initrd === undefined ? {} : { initrd }),
                  ...(commandLine === undefined ? {} : { commandLine }),
                },
              }),
          vcpus: input.vcpus,
          vcpuTypes: input.vcpuType,
        },
      ],
      secrets,
      roots: await trustedRoots(input.root, io),
      random: systemRandom,
      now: Date.now,
      ...(ownerCertificate === undefined ? {} : { owner: ownerCertificate }),
      ...(kds === undefined ? {} : { keyService: openKeyService({ url: kds }) }),
      allowDebug: input.allowDebug,
      allowKeySharing: input.allowKeySharing,
      allowMigrationToAnyone: input.allowMigrationToAnyone,
      allowApiBelow017: input.allowApiBelow017,
    });
    const address = socket === undefined ? { host: input.host, port: input.port } : { socketPath: socket };
    const server = await serveGuestOwner(owner, address, {
      onDecision: (decision) => void io.stderr.write(`${decisionLine(decision)}\n`),
      onError: (error) => void io.stderr.write(`vouchsafe: a request failed: ${error.name}\n`),
    });
    return {
      exit: 0,
      json: {
        address: server.address,
        mode: owner.mode,
        policy,
        digests: owner.expected.digests.map(({ name, digest }) => ({ name, digest: toHex(digest) })),
      },
      render(screen) {
        screen.line(`Guest owner for ${owner.mode} at ${server.address}, policy ${policyText(policy)}`);
        screen.line('Accepts these launches:');
        for (const line of describeExpectedLaunches(owner.expected)) screen.line(`  ${line}`);
      },
      stay: (stop) =>
        untilStopped(stop, async () => {
          await server.close();
          await owner.close();
          for (const { data } of secrets) data.zero();
        }),
    };
  },
});

function decisionLine({ step, accepted, root, failed }: OwnerDecision): string {
  const where = root === undefined ? '' : ` (${root})`;
  return `${accepted ? 'accepted' : 'refused'} a ${step}${where}${failed.length === 0 ? '' : `: ${failed.join(', ')}`}`;
}
