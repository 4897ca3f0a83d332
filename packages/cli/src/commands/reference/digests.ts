import { basename } from 'node:path';
import type { DigestReference } from '@vouchsafe/broker/documents';
import {
  calculateLaunchDigest,
  calculateSnpLaunchDigest,
  InvalidArgumentError,
  toHex,
  vmmProfiles,
} from '@vouchsafe/sev';
import type { Io } from '../../frame/io.js';
import { readFeatures } from '../digest/options.js';
import { readCounts, readVcpuTypes } from '../digest/ranges.js';
import { readBootFiles, readFirmware } from '../launch-inputs.js';
import type { MachineInputs, ReferenceMode } from './options.js';

/** Digests by the member of the document that lists them. */
export interface ReferenceDigests {
  /** SEV-SNP. */
  readonly measurements: readonly DigestReference[];
  /** SEV and SEV-ES. */
  readonly launchDigests: readonly DigestReference[];
}

interface Machine {
  readonly mode: ReferenceMode;
  /** For people; empty for SEV, which measures no vCPU. */
  readonly text: string;
  readonly vcpus?: number;
  readonly vcpuSignature?: number;
  readonly vmsaFpu?: 'set' | 'zero';
}

/**
 * Reads the boot files and computes the digest of every machine that the options name.
 * @throws InvalidArgumentError for machines that are not named fully; UnavailableError
 */
export async function referenceDigests(input: MachineInputs, io: Io): Promise<ReferenceDigests> {
  const firmware = await readFirmware(input.firmware, io);
  const { kernel, initrd, append } = input;
  const names = { initrd: '--initrd', commandLine: '--append' };
  const boot = await readBootFiles({ kernel, initrd, commandLine: append }, names, io);
  const guestFeatures = readFeatures(input.guestFeatures ?? '0x1', '--guest-features');
  const label = input.label ?? basename(kernel ?? input.firmware);
  const lists = { measurements: [] as DigestReference[], launchDigests: [] as DigestReference[] };
  for (const { mode, text, ...machine } of machinesOf(input)) {
    const { digest } =
      mode === 'snp'
        ? await calculateSnpLaunchDigest({
            firmware,
            ...boot,
            guestFeatures,
            vmmType: input.vmmType,
            vcpus: machine.vcpus ?? 1,
            vcpuSignature: machine.vcpuSignature,
            vmsaFpu: machine.vmsaFpu ?? vmmProfiles[input.vmmType].fpu,
          })
        : await calculateLaunchDigest({
            mode,
            firmware,
            ...boot,
            ...machine,
            sevFeatures: guestFeatures & 0x20n,
          });
    const list = mode === 'snp' ? lists.measurements : lists.launchDigests;
    const value = toHex(digest);
    if (list.every((each) => each.value !== value)) list.push({ value, label: `${label}, ${text}` });
  }
  return lists;
}

function machinesOf(input: MachineInputs): Machine[] {
  const modes: readonly ReferenceMode[] = input.mode.length === 0 ? ['snp'] : [...new Set(input.mode)];
  return modes.flatMap((mode) => (mode === 'sev' ? [{ mode, text: 'SEV' }] : vcpuMachines(mode, input)));
}

function vcpuMachines(mode: 'seves' | 'snp', input: MachineInputs): Machine[] {
  if (input.vcpus === undefined)
    throw new InvalidArgumentError('--vcpus', `${mode} measures each vCPU: name their numbers`);
  const profile = vmmProfiles[input.vmmType];
  const needsType = mode === 'seves' || profile.rdx === 'signature';
  const types = readVcpuTypes(input.vcpuType, input.vcpuSig);
  if (needsType && types === undefined)
    throw new InvalidArgumentError(
      '--vcpu-type',
      `${mode} measures the CPU model: name those that are welcome`,
    );
  const both = input.vmmType === 'QEMU' ? (['set', 'zero'] as const) : [profile.fpu];
  const forms = input.vmsaFpu.length === 0 ? both : [...new Set(input.vmsaFpu)];
  const title = mode === 'snp' ? 'SEV-SNP' : 'SEV-ES';
  return readCounts(input.vcpus, '--vcpus').flatMap((vcpus) =>
    (needsType ? (types ?? []) : [undefined]).flatMap((type) =>
      forms.map((vmsaFpu) => ({
        ...{ mode, vcpus, vmsaFpu },
        ...(type === undefined ? {} : { vcpuSignature: type.signature }),
        text: [
          title,
          `${vcpus} vCPU${vcpus === 1 ? '' : 's'}`,
          ...(type === undefined ? [] : [type.name]),
          `FPU ${vmsaFpu}`,
        ].join(', '),
      })),
    ),
  );
}
