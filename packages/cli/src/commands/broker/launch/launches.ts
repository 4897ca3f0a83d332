import { type ExpectedLaunches, expectLaunches } from '@vouchsafe/broker/documents';
import { parseResourcePath } from '@vouchsafe/protocol';
import {
  guidToBytes,
  InvalidArgumentError,
  parseGuestPolicy,
  toBase64,
  toHex,
  vcpuSignatureOf,
  wellKnownSecretGuids,
} from '@vouchsafe/sev';
import { command, type Result } from '../../../frame/command.js';
import type { Io } from '../../../frame/io.js';
import {
  argument,
  flag,
  grouped,
  number,
  path,
  repeated,
  required,
  text,
  word,
} from '../../../frame/options.js';
import { harmless } from '../../../frame/screen.js';
import { readOwner } from '../../chain/input.js';
import { readBootFiles, readFirmware } from '../../launch-inputs.js';
import { connectBroker } from '../client.js';
import { clientOptions } from '../data-folder.js';

interface LaunchAnswer {
  readonly name: string;
  readonly version: number;
  readonly createdAt: string;
  readonly launch: {
    readonly policy: number;
    readonly digests: readonly { readonly name: string; readonly digest: string }[];
    readonly secrets: readonly { readonly guid: string; readonly resource: string }[];
  };
}

export const set = command({
  description:
    'Expects a kind of launch of SEV or SEV-ES: computes its launch digests from your own copies of the images, and says ' +
    'which secrets of the broker it gets, where the release policies say so. Hosts ask for the launch named “default” at ' +
    'the broker’s address, for another below it at /launches/NAME.',
  arguments: { name: argument('name', 'of the kind of launch') },
  options: {
    policy: required(number('--policy <n>', 'guest policy of every launch', word)),
    firmware: path('--firmware <file>', 'firmware image that may be launched'),
    reference: repeated(
      text('--reference <name>', 'expect the launch digests of these reference values, as issuer/name'),
    ),
    secret: repeated(
      text(
        '--secret <guid:path>',
        'GUID, and the secret that the guest finds under it; luks-key stands for the disk key’s',
      ),
    ),
    kernel: path('--kernel <file>', 'kernel of a measured direct boot'),
    initrd: path('--initrd <file>', 'its initrd'),
    append: text('--append <text>', 'its command line'),
    vcpus: repeated(
      number('--vcpus <n>', 'number of virtual CPUs that is welcome (SEV-ES)', { least: 1, most: 4096 }),
    ),
    vcpuType: repeated(text('--vcpu-type <type>', 'CPU model that is welcome (SEV-ES)')),
    oca: path('--oca <file>', 'certificate of the only platform owner whose machines are welcome'),
    ...grouped('What no careful owner would want, allowed by name', {
      allowDebug: flag('--allow-debug', 'a policy that lets the host debug the guest'),
      allowKeySharing: flag('--allow-key-sharing', 'a policy that lets other guests share the memory key'),
      allowMigrationToAnyone: flag(
        '--allow-migration-to-anyone',
        'a policy that lets the host migrate the guest anywhere',
      ),
      allowApiBelow017: flag(
        '--allow-api-below-0.17',
        'firmware that does not bind its version into the measurement',
      ),
    }),
    ...clientOptions,
  },
  examples: [
    {
      line: 'broker launch set default --policy 0xb --firmware OVMF.fd --secret luks-key:disks/luks/web1',
      explains: 'hosts then ask with `vouchsafe host launch --owner URL`',
    },
  ],
  async run(input, { io }): Promise<Result> {
    const { name, policy } = input;
    const secrets = input.secret.map(readSecret);
    if (secrets.length === 0) throw new InvalidArgumentError('--secret', 'at least one has to be given');
    if (input.firmware === undefined && input.reference.length === 0)
      throw new InvalidArgumentError('--firmware', 'give it, or reference values with --reference');
    const expected = await readExpected(input, io);
    const owner = await readOwner(input.oca, io);
    const digests = expected.digests.map((each) => ({ name: each.name, digest: toHex(each.digest) }));
    const { reference: references } = input;
    const launch = {
      policy,
      digests,
      ...(references.length === 0 ? {} : { references }),
      vcpus: expected.vcpus,
      vcpuSignatures: expected.vcpuSignatures,
      secrets,
      ...(owner === undefined ? {} : { owner: toBase64(owner) }),
      ...(input.allowDebug ? { allowDebug: true } : {}),
      ...(input.allowKeySharing ? { allowKeySharing: true } : {}),
      ...(input.allowMigrationToAnyone ? { allowMigrationToAnyone: true } : {}),
      ...(input.allowApiBelow017 ? { allowApiBelow017: true } : {}),
    };
    const broker = await connectBroker(input, io);
    const url = `/launches/${encodeURIComponent(name)}`;
    const { version } = await broker.ask<{ version: number }>('PUT', url, launch);
    return {
      exit: 0,
      json: { name, version, digests },
      render(screen) {
        screen.line(`Launch ${name}, version ${version}, is expected with these digests:`);
        for (const each of digests) screen.line(`  ${each.digest}  ${each.name}`);
        for (const name of references) screen.line(`  those of ${harmless(name)}, while they are in force`);
      },
    };
  },
});

interface LaunchInputs {
  readonly policy: number;
  readonly firmware: string | undefined;
  readonly kernel: string | undefined;
  readonly initrd: string | undefined;
  readonly append: string | undefined;
  readonly vcpus: readonly number[];
  readonly vcpuType: readonly string[];
}

/** The digests of the images that are named; without images, the CPUs that hosts may choose from. */
async function readExpected(
  { policy, firmware, kernel, initrd, append, vcpus, vcpuType }: LaunchInputs,
  io: Io,
): Promise<ExpectedLaunches> {
  if (firmware === undefined)
    return { digests: [], vcpus, vcpuSignatures: vcpuType.map((type) => vcpuSignatureOf(type)) };
  const names = { initrd: '--initrd', commandLine: '--append' };
  const boot = await readBootFiles({ kernel, initrd, commandLine: append }, names, io);
  const { kernel: image, initrd: ramdisk, append: commandLine } = boot;
  const directBoot =
    image === undefined
      ? undefined
      : {
          kernel: image,
          ...(ramdisk === undefined ? {} : { initrd: ramdisk }),
          ...(commandLine === undefined ? {} : { commandLine }),
        };
  return expectLaunches(parseGuestPolicy(policy).encryptedState ? 'sev-es' : 'sev', [
    {
      name: firmware,
      firmware: await readFirmware(firmware, io),
      ...(directBoot === undefined ? {} : { directBoot }),
      vcpus,
      vcpuTypes: vcpuType,
    },
  ]);
}

/** One `GUID:repository/type/tag`. @throws InvalidArgumentError, MalformedError */
function readSecret(given: string): { guid: string; resource: string } {
  const colon = given.indexOf(':');
  if (colon < 1) throw new InvalidArgumentError('--secret', 'expected GUID:repository/type/tag');
  const name = given.slice(0, colon);
  const guid = (name === 'luks-key' ? wellKnownSecretGuids.luksKey : name).toLowerCase();
  guidToBytes(guid);
  const resource = given.slice(colon + 1);
  parseResourcePath(resource);
  return { guid, resource };
}

export const list = command({
  description: 'Lists the kinds of launch of SEV and SEV-ES that a broker expects.',
  arguments: {},
  options: clientOptions,
  examples: [{ line: 'broker launch list', explains: 'with their policies and secrets' }],
  async run(input, { io }): Promise<Result> {
    const launches = await (await connectBroker(input, io)).ask<LaunchAnswer[]>('GET', '/launches');
    return {
      exit: 0,
      json: launches,
      render: (screen) =>
        screen.table(
          ['launch', 'version', 'policy', 'digests', 'secrets'],
          launches.map(({ name, version, launch }) => [
            harmless(name),
            String(version),
            `0x${launch.policy.toString(16)}`,
            String(launch.digests.length),
            launch.secrets.map(({ resource }) => harmless(resource)).join(', '),
          ]),
        ),
    };
  },
});

export const remove = command({
  description: 'Expects a kind of launch no more. Sessions that hosts have open for it end unanswered.',
  arguments: { name: argument('name', 'of the kind of launch') },
  options: clientOptions,
  examples: [{ line: 'broker launch delete default', explains: 'hosts that ask for it are told 404' }],
  async run(input, { io }): Promise<Result> {
    const { name } = input;
    await (await connectBroker(input, io)).ask('DELETE', `/launches/${encodeURIComponent(name)}`);
    return { exit: 0, json: { name }, render: (screen) => screen.line(`Launch ${name} is expected no more`) };
  },
});
