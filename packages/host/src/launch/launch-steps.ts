import type { HostMachine } from '@vouchsafe/firmware/mailbox';
import {
  attestationBuffer,
  attestationReport,
  decommissionBuffer,
  guestStateName,
  guestStatusBuffer,
  launchFinishBuffer,
  launchMeasureBuffer,
  launchSecretBuffer,
  launchStartBuffer,
  launchUpdateDataBuffer,
  launchUpdateVmsaBuffer,
  platformStatus,
  qmpGuestStates,
} from '@vouchsafe/sev';
import { readPlatformStatus, withMailbox } from '../platform/mailbox.js';
import type { GuestMemory } from './guest-memory.js';
import type { LaunchConfiguration, SevInformation } from './launcher.js';

/** The commands that launch a guest of SEV or SEV-ES (SEV API 0.24, chapter 6), over the mailbox of the software machine. */

/** Measurement and nonce. */
const measurementSize = 48;

/** LAUNCH_START: the processor makes the guest's memory key and opens the owner's channel. @returns the handle */
export function launchStart(machine: HostMachine, { policy, channel }: LaunchConfiguration): Promise<number> {
  return withMailbox(machine, async ({ place, run }) => {
    if (channel === undefined)
      return handleIn(await run('LAUNCH_START', launchStartBuffer.build({ policy })));
    const certificate = await place(channel.godhCertificate);
    const session = await place(channel.session);
    const buffer = launchStartBuffer.build({
      policy,
      certificateAddress: certificate.address,
      certificateLength: certificate.length,
      sessionAddress: session.address,
      sessionLength: session.length,
    });
    return handleIn(await run('LAUNCH_START', buffer));
  });
}

const handleIn = (buffer: Uint8Array) => launchStartBuffer.parse(buffer).handle;

/** LAUNCH_UPDATE_DATA: puts bytes into guest memory, where the processor measures and encrypts them in place. */
export async function launchUpdateData(
  machine: HostMachine,
  memory: GuestMemory,
  handle: number,
  guestAddress: number,
  bytes: Uint8Array,
): Promise<void> {
  const address = memory.requireSystemAddress(guestAddress, bytes.length);
  await machine.memory.write(address, bytes);
  const buffer = launchUpdateDataBuffer.build({ handle, address: BigInt(address), length: bytes.length });
  await withMailbox(machine, ({ run }) => run('LAUNCH_UPDATE_DATA', buffer));
}

/** LAUNCH_UPDATE_VMSA: the first state of one vCPU, measured as given, then sealed with its integrity value. */
export async function launchUpdateVmsa(
  machine: HostMachine,
  handle: number,
  address: number,
  page: Uint8Array,
): Promise<void> {
  await machine.memory.write(address, page);
  const buffer = launchUpdateVmsaBuffer.build({ handle, address: BigInt(address), length: page.length });
  await withMailbox(machine, ({ run }) => run('LAUNCH_UPDATE_VMSA', buffer));
}

/** LAUNCH_MEASURE: ends measuring. @returns measurement and nonce, 48 bytes */
export function launchMeasure(machine: HostMachine, handle: number): Promise<Uint8Array> {
  return withMailbox(machine, async ({ place, run }) => {
    const { address, length, read } = await place(new Uint8Array(measurementSize));
    await run('LAUNCH_MEASURE', launchMeasureBuffer.build({ handle, address, length }));
    return read();
  });
}

/** LAUNCH_SECRET: the processor opens the owner's packet and encrypts what was in it into guest memory. */
export function launchSecret(
  machine: HostMachine,
  handle: number,
  header: Uint8Array,
  payload: Uint8Array,
  systemAddress: number,
): Promise<void> {
  return withMailbox(machine, async ({ place, run }) => {
    const placedHeader = await place(header);
    const transport = await place(payload);
    const buffer = launchSecretBuffer.build({
      handle,
      headerAddress: placedHeader.address,
      headerLength: header.length,
      guestAddress: BigInt(systemAddress),
      guestLength: payload.length,
      transportAddress: transport.address,
      transportLength: payload.length,
    });
    await run('LAUNCH_SECRET', buffer);
  });
}

/** LAUNCH_FINISH: the processor forgets the owner's channel, and the guest may be entered. */
export async function launchFinish(machine: HostMachine, handle: number): Promise<void> {
  await withMailbox(machine, ({ run }) => run('LAUNCH_FINISH', launchFinishBuffer.build({ handle })));
}

/** ATTESTATION: digest and policy of the launch, signed by the PEK. */
export function attestation(machine: HostMachine, handle: number, mnonce: Uint8Array): Promise<Uint8Array> {
  return withMailbox(machine, async ({ place, run }) => {
    const { address, length, read } = await place(new Uint8Array(attestationReport.size));
    await run('ATTESTATION', attestationBuffer.build({ handle, address, mnonce, length }));
    return read();
  });
}

/** DECOMMISSION: the processor forgets the guest and its memory key. The guest has been deactivated. */
export async function decommission(machine: HostMachine, handle: number): Promise<void> {
  await withMailbox(machine, ({ run }) => run('DECOMMISSION', decommissionBuffer.build({ handle })));
}

/** PLATFORM_STATUS and GUEST_STATUS, as query-sev puts them together. */
export function information(machine: HostMachine, handle: number): Promise<SevInformation> {
  return withMailbox(machine, async (mailbox) => {
    const platform = platformStatus.parse(await readPlatformStatus(mailbox));
    const guest = guestStatusBuffer.parse(
      await mailbox.run('GUEST_STATUS', guestStatusBuffer.build({ handle })),
    );
    const state = guestStateName(guest.state) ?? 'UNINIT';
    return {
      apiMajor: platform.apiMajor,
      apiMinor: platform.apiMinor,
      buildId: platform.config.build,
      policy: guest.policy,
      state: state === 'SENT' ? 'uninit' : qmpGuestStates[state],
      handle,
    };
  });
}
