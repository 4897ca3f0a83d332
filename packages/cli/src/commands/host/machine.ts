import type { SoftwareMachine } from '@vouchsafe/firmware';
import type { GuestInit } from '@vouchsafe/guest';
import type { LaunchConfiguration } from '@vouchsafe/host';
import { InvalidArgumentError, parseGuestPolicy, SecretTableAbsentError, systemRandom } from '@vouchsafe/sev';
import type { Io } from '../../frame/io.js';
import { choice, number, path, required, text, withDefault } from '../../frame/options.js';
import { readBootFiles, readFirmware } from '../launch-inputs.js';
import { openChip, processorOptions } from '../platform/processor.js';
import { readVcpuSignature, type VcpuInputs, vcpuOptions } from '../vcpu.js';

const { software, generation } = processorOptions;

/** Options of the commands that launch a guest on the software machine; names as in QEMU where it has them. */
export const machineOptions = {
  software: required(software),
  generation,
  firmware: path(
    '--firmware <file>',
    'firmware image (default: the small one of this project, which the machine can run)',
  ),
  kernel: path('--kernel <file>', 'kernel of a measured direct boot'),
  initrd: path('--initrd <file>', 'its initrd'),
  append: text('--append <text>', 'its command line'),
  vcpus: withDefault(number('--vcpus <n>', 'number of virtual CPUs', { least: 1, most: 4096 }), 1),
  ...vcpuOptions,
  vmsaFpu: withDefault(
    choice('--vmsa-fpu <state>', 'MXCSR and FCW in the VMSA', ['set', 'zero'] as const),
    'set',
  ),
  disk: path('--disk <file>', 'volume that the guest unlocks with the disk key that is injected'),
};

interface MachineInputs extends VcpuInputs {
  readonly firmware: string | undefined;
  readonly kernel: string | undefined;
  readonly initrd: string | undefined;
  readonly append: string | undefined;
  readonly vcpus: number;
  readonly vmsaFpu: 'set' | 'zero';
}

/** What to launch, but for the policy and the owner's channel. */
export async function readConfiguration(
  inputs: MachineInputs,
  io: Io,
): Promise<Omit<LaunchConfiguration, 'policy' | 'mode'>> {
  const { buildGuestFirmware } = await import('@vouchsafe/guest');
  const { kernel, initrd, append } = await readBootFiles(
    { kernel: inputs.kernel, initrd: inputs.initrd, commandLine: inputs.append },
    { initrd: '--initrd', commandLine: '--append' },
    io,
  );
  const directBoot =
    kernel === undefined
      ? undefined
      : {
          kernel,
          ...(initrd === undefined ? {} : { initrd }),
          ...(append === undefined ? {} : { commandLine: append }),
        };
  return {
    firmware: inputs.firmware === undefined ? buildGuestFirmware() : await readFirmware(inputs.firmware, io),
    ...(directBoot === undefined ? {} : { directBoot }),
    vcpus: inputs.vcpus,
    vcpuSignature: readVcpuSignature(inputs) ?? milanSignature,
    vmsaFpu: inputs.vmsaFpu,
  };
}

/** CPUID 1 EAX of EPYC-Milan, which a software guest has unless another is named. */
const milanSignature = 0x00a0_0f11;

export const modeOf = (policy: number) => (parseGuestPolicy(policy).encryptedState ? 'sev-es' : 'sev');

/** The software machine around the chip of a state folder, with the program that its guests run. */
export async function openMachine(inputs: {
  readonly software: string;
  readonly generation: Parameters<typeof openChip>[1];
  readonly disk: string | undefined;
}): Promise<SoftwareMachine> {
  const { createSoftwareMachine } = await import('@vouchsafe/firmware');
  const { guestFirmwareProgram } = await import('@vouchsafe/guest');
  const chip = await openChip(inputs.software, inputs.generation);
  const machine = createSoftwareMachine({ chip, random: systemRandom });
  machine.insertGuest(guestFirmwareProgram({ init: await guestInit(inputs.disk) }));
  return machine;
}

/** Unlocks the volume, if there is one; else says which secrets were found. */
async function guestInit(disk: string | undefined): Promise<GuestInit> {
  const { unlockDiskInit, unlockVolume } = await import('@vouchsafe/guest');
  if (disk === undefined) return tellSecrets;
  if (disk.startsWith('-')) throw new InvalidArgumentError('--disk', 'expected a path; put ./ before it');
  return unlockDiskInit({
    async unlock(key) {
      const { kind } = await unlockVolume({ volume: disk, key });
      return `${kind === 'luks2' ? 'LUKS' : 'stand-in'} volume unlocked`;
    },
  });
}

const tellSecrets: GuestInit = async (guest) => {
  try {
    const guids = await (await guest.openSecrets()).list();
    await guest.print(`secrets in my memory: ${guids.join(', ')}`);
  } catch (error) {
    if (!(error instanceof SecretTableAbsentError)) throw error;
    await guest.print('no secrets in my memory');
  }
};
