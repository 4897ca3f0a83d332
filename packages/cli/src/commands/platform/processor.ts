import { join } from 'node:path';
import type { Platform } from '@vouchsafe/host';
import {
  type Generation,
  generations,
  InvalidArgumentError,
  type ProductLine,
  sevCertificate,
  systemRandom,
  UnavailableError,
} from '@vouchsafe/sev';
import { choice, path } from '../../frame/options.js';
import { hostProductLine } from './snp-tcb.js';

/** Options that say which secure processor a command manages. */
export const processorOptions = {
  device: path('--device <path>', 'device of the ccp driver (default: /dev/sev)'),
  software: path(
    '--software <dir>',
    'a software processor instead, whose state is in this folder; made at first use',
  ),
  authority: path(
    '--authority <dir>',
    'development authority that endorses it (default: the folder authority in its own)',
  ),
  generation: choice(
    '--generation <name>',
    'what the software processor is made as (default: milan)',
    generations,
  ),
};

export interface ProcessorInputs {
  readonly device: string | undefined;
  readonly software: string | undefined;
  readonly authority: string | undefined;
  readonly generation: Generation | undefined;
}

/** A processor under management. */
export interface ManagedProcessor {
  readonly platform: Platform;
  /** Undefined where it cannot be told, and for generations before SEV-SNP. */
  readonly line: ProductLine | undefined;
  /** Who endorsed it, as `--kds` may name it; for a software processor its own authority answers in this process. */
  endorsement(kds: string | undefined): Promise<Endorsement>;
  close(): Promise<void>;
}

export interface Endorsement {
  /** Signed CEK, 0x824 bytes. */
  readonly cek: Uint8Array;
  /** ASK‖ARK. */
  readonly askArk: Uint8Array;
}

export async function openProcessor(inputs: ProcessorInputs): Promise<ManagedProcessor> {
  const { software, device } = inputs;
  if (software === undefined) {
    if (inputs.authority !== undefined || inputs.generation !== undefined) {
      const name = inputs.authority === undefined ? '--generation' : '--authority';
      throw new InvalidArgumentError(name, 'it belongs to a software processor', {
        hint: 'name one with --software',
      });
    }
    return openDevice(device);
  }
  if (device !== undefined) throw new InvalidArgumentError('--device', 'give either it or --software');
  return openSoftware(software, inputs);
}

/** Runs one piece of work on a processor, and lets go of it whatever happens. */
export async function withProcessor<T>(
  inputs: ProcessorInputs,
  work: (processor: ManagedProcessor) => Promise<T>,
): Promise<T> {
  const processor = await openProcessor(inputs);
  try {
    return await work(processor);
  } finally {
    await processor.close();
  }
}

async function openDevice(device = '/dev/sev'): Promise<ManagedProcessor> {
  const { linuxPlatform } = await import('@vouchsafe/host');
  const { openKeyService } = await import('../kds/service.js');
  const platform = linuxPlatform(device);
  return {
    platform,
    line: await hostProductLine(),
    async endorsement(kds) {
      const service = openKeyService({ url: kds });
      const { chain } = await platform.export();
      const exported = chain.slice(-sevCertificate.size);
      const cek = await service.cek(await platform.chipId(), { exported });
      return { cek, askArk: (await service.issuerOf(cek)).askArk };
    },
    close: async () => undefined,
  };
}

async function openSoftware(folder: string, inputs: ProcessorInputs): Promise<ManagedProcessor> {
  const { chipEndorsementRequest, createSoftwareMachine, machineProfiles } = await import(
    '@vouchsafe/firmware'
  );
  const { softwarePlatform } = await import('@vouchsafe/host');
  const { openDevelopmentAuthority } = await import('@vouchsafe/kds');
  const { openKeyService } = await import('../kds/service.js');
  const chip = await openChip(folder, inputs.generation);
  const machine = createSoftwareMachine({ chip, random: systemRandom, memory: 16 * 1024 * 1024 });
  const platform = softwarePlatform(machine.host);
  // The ccp driver runs INIT when it is loaded; commands that need it do so here, and asking for the PEK is one.
  await platform.signingRequest();
  return {
    platform,
    line: machineProfiles[chip.generation].snp?.line,
    async endorsement(kds) {
      const { chipId, unsignedCek } = chipEndorsementRequest(chip);
      if (kds !== undefined) {
        const service = openKeyService({ url: kds });
        const cek = await service.cek(chipId, { exported: unsignedCek });
        return { cek, askArk: (await service.issuerOf(cek)).askArk };
      }
      const authority = await openDevelopmentAuthority({
        folder: authorityFolder(folder, inputs.authority),
        generation: chip.generation,
      });
      const askArk = await authority.findAskArk(chip.generation);
      if (askArk === undefined)
        throw new UnavailableError('development authority', 'it has no certificates of its own');
      return { cek: await authority.endorse(chipId, unsignedCek), askArk };
    },
    close: () => machine.close(),
  };
}

/** The chip whose state is in a folder; manufactured at first use. */
export async function openChip(folder: string, generation: Generation | undefined) {
  const { openChipFile } = await import('@vouchsafe/firmware');
  return openChipFile(join(folder, 'chip.json'), {
    random: systemRandom,
    ...(generation === undefined ? {} : { generation }),
  });
}

export const authorityFolder = (software: string, authority: string | undefined) =>
  authority ?? join(software, 'authority');
