import {
  createGuestOwner,
  describeExpectedLaunches,
  type OwnerDecision,
  serveGuestOwner,
} from '@vouchsafe/broker';
import { InvalidArgumentError, systemRandom, toHex } from '@vouchsafe/sev';
import type { Result } from '../../frame/command.js';
import type { Io } from '../../frame/io.js';
import { readOwner, trustedRoots } from '../chain/input.js';
import { openKeyService } from '../kds/service.js';
import { readBootFiles, readFirmware } from '../launch-inputs.js';
import { policyText } from '../policy/explain.js';
import { readSecretEntry, type SecretEntry } from '../secret/entries.js';
import { untilStopped } from '../stay.js';

/** What one guest owner is told on the command line. */
export interface OwnerInput {
  readonly policy: number;
  readonly firmware?: string | undefined;
  readonly kernel?: string | undefined;
  readonly initrd?: string | undefined;
  readonly append?: string | undefined;
  readonly vcpus: readonly number[];
  readonly vcpuType: readonly string[];
  readonly secret: readonly string[];
  readonly root?: string | undefined;
  readonly oca?: string | undefined;
  readonly kds?: string | undefined;
  readonly host: string;
  readonly port: number;
  readonly socket?: string | undefined;
  readonly allowDebug: boolean;
  readonly allowKeySharing: boolean;
  readonly allowMigrationToAnyone: boolean;
  readonly allowApiBelow017: boolean;
}

/** A guest owner for one kind of launch, with everything in memory: no folder, no database, no record. */
export async function serveOwner(input: OwnerInput, io: Io): Promise<Result> {
  const { policy, socket, kds, firmware } = input;
  if (firmware === undefined)
    throw new InvalidArgumentError('--firmware', 'it has to be given with --policy');
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
        name: firmware,
        firmware: await readFirmware(firmware, io),
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
}

function decisionLine({ step, accepted, root, failed }: OwnerDecision): string {
  const where = root === undefined ? '' : ` (${root})`;
  return `${accepted ? 'accepted' : 'refused'} a ${step}${where}${failed.length === 0 ? '' : `: ${failed.join(', ')}`}`;
}
