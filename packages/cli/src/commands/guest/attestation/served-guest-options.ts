import type { SnpLaunchConfiguration } from '@vouchsafe/host';
import { InvalidArgumentError } from '@vouchsafe/sev';
import type { Io } from '../../../frame/io.js';
import { hex, path, text, wideNumber, withDefault } from '../../../frame/options.js';
import { readIdAuthentication, readIdBlock } from '../../id-block/files.js';
import { readBootFiles, readFirmware } from '../../launch-inputs.js';
import { readVcpuSignature, type VcpuInputs, vcpuOptions } from '../../vcpu.js';

/** What a served guest is launched from: names as in the commands that launch and that compute digests. */
export const servedGuestOptions = {
  policy: withDefault(wideNumber('--policy <n>', 'guest policy'), 0x30000n, '0x30000'),
  firmware: path('--firmware <file>', 'firmware image (default: the small one of this project)'),
  kernel: path('--kernel <file>', 'kernel of a measured direct boot'),
  initrd: path('--initrd <file>', 'its initrd'),
  append: text('--append <text>', 'its command line'),
  ...vcpuOptions,
  idBlock: path('--id-block <file>', 'ID block, 96 bytes'),
  idAuth: path('--id-auth <file>', 'its ID authentication information, 4096 bytes'),
  hostData: hex('--host-data <hex>', 'what the host puts into reports', 32),
};

interface ServedGuestInputs extends VcpuInputs {
  readonly policy: bigint;
  readonly firmware: string | undefined;
  readonly kernel: string | undefined;
  readonly initrd: string | undefined;
  readonly append: string | undefined;
  readonly idBlock: string | undefined;
  readonly idAuth: string | undefined;
  readonly hostData: Uint8Array | undefined;
}

/** Reads what the options name. */
export async function readServedGuest(input: ServedGuestInputs, io: Io): Promise<SnpLaunchConfiguration> {
  const { policy, hostData, firmware, idBlock, idAuth } = input;
  if ((idBlock === undefined) !== (idAuth === undefined))
    throw new InvalidArgumentError(
      idBlock === undefined ? '--id-block' : '--id-auth',
      'give both or neither',
    );
  const { buildGuestFirmware } = await import('@vouchsafe/guest');
  const { kernel, initrd, append } = await readBootFiles(
    { kernel: input.kernel, initrd: input.initrd, commandLine: input.append },
    { initrd: '--initrd', commandLine: '--append' },
    io,
  );
  return {
    mode: 'snp',
    policy,
    firmware: firmware === undefined ? buildGuestFirmware() : await readFirmware(firmware, io),
    vcpus: 1,
    vcpuSignature: readVcpuSignature(input) ?? milanSignature,
    memory: guestMemory,
    ...(kernel === undefined
      ? {}
      : {
          directBoot: {
            kernel,
            ...(initrd === undefined ? {} : { initrd }),
            ...(append === undefined ? {} : { commandLine: append }),
          },
        }),
    ...(hostData === undefined ? {} : { hostData }),
    ...(idBlock === undefined || idAuth === undefined
      ? {}
      : {
          idBlock: {
            block: await readIdBlock(idBlock, io),
            authentication: await readIdAuthentication(idAuth, io),
          },
        }),
  };
}

/** CPUID 1 EAX of EPYC-Milan, which a software guest has unless another is named. */
const milanSignature = 0x00a0_0f11;
/** The guest runs nothing: all its memory is made its own at launch, so little is quicker. */
const guestMemory = 4 * 1024 * 1024;
