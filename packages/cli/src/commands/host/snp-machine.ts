import type { SoftwareMachine } from '@vouchsafe/firmware';
import type { BootedGuest, GuestInit } from '@vouchsafe/guest';
import {
  buildCertificateTable,
  certificateTableGuids,
  parseSnpReport,
  systemRandom,
  toHex,
  UnavailableError,
} from '@vouchsafe/sev';
import { authorityFolder, openChip } from '../platform/processor.js';

/** The software machine around the chip of a state folder, and who endorses that chip. */
export interface SnpMachineInputs {
  readonly software: string;
  readonly authority: string | undefined;
  readonly generation: Parameters<typeof openChip>[1];
}

export interface SnpSoftwareMachine {
  readonly machine: SoftwareMachine;
  /** ARK, ASK and VCEK of the chip, for the TCB version that it reports, as a host gives them to its guests. */
  readonly certificateTable: Uint8Array;
}

/**
 * The machine, with the program that its guests run.
 * @throws UnavailableError for a chip without SEV-SNP
 */
export async function openSnpMachine(inputs: SnpMachineInputs, init: GuestInit): Promise<SnpSoftwareMachine> {
  const { createSoftwareMachine, machineProfiles, vcekEndorsementRequest } = await import(
    '@vouchsafe/firmware'
  );
  const { guestFirmwareProgram } = await import('@vouchsafe/guest');
  const { openDevelopmentAuthority } = await import('@vouchsafe/kds');
  const chip = await openChip(inputs.software, inputs.generation);
  const profile = machineProfiles[chip.generation].snp;
  const authority = await openDevelopmentAuthority({
    folder: authorityFolder(inputs.software, inputs.authority),
    generation: chip.generation,
  });
  if (profile === undefined || authority.snp === undefined) {
    throw new UnavailableError('SEV-SNP', `a processor of the generation ${chip.generation} has none`, {
      hint: 'take a folder whose processor was made as milan, genoa or turin (--generation)',
    });
  }
  const { ark, ask } = authority.snp;
  const vcek = await authority.snp.endorseVcek(vcekEndorsementRequest(chip, profile.currentTcb));
  const machine = createSoftwareMachine({ chip, random: systemRandom });
  machine.insertGuest(guestFirmwareProgram({ init }));
  const certificateTable = buildCertificateTable([
    { guid: certificateTableGuids.ARK, bytes: ark },
    { guid: certificateTableGuids.ASK, bytes: ask },
    { guid: certificateTableGuids.VCEK, bytes: vcek },
  ]);
  return { machine, certificateTable };
}

/** What a guest does that has nothing else to do: it says what it is, by a report of its own. */
export const tellSelf: GuestInit = async (guest) => {
  const { report } = await reportOf(guest, new Uint8Array(64));
  await guest.print(`my measurement: ${toHex(parseSnpReport(report).measurement)}`);
};

/** @param reportData 64 bytes */
export async function reportOf({ attestation }: BootedGuest, reportData: Uint8Array) {
  if (attestation === undefined) throw new UnavailableError('guest', 'it is none of SEV-SNP');
  return attestation.report({ reportData });
}
