import {
  apiAtLeast,
  attestationBuffer,
  attestationReport,
  buildAttestationReport,
  ecdhP384,
  isOnP384,
  isP384Key,
  largestSecretPacket,
  launchFinishBuffer,
  launchMeasureBuffer,
  launchMeasurementBlob,
  launchSecretBuffer,
  launchSessionBuffer,
  launchStartBuffer,
  launchUpdateDataBuffer,
  launchUpdateVmsaBuffer,
  MalformedError,
  measureLaunch,
  minimumApiOf,
  openSecret,
  openSecretPacket,
  type P384PublicKey,
  PacketRefusedError,
  PacketUnsupportedError,
  parseGuestPolicy,
  parseSevCertificate,
  Secret,
  SessionRefusedError,
  secretPacketHeader,
  sevCertificate,
  type TransportKeys,
  unwrapTransportKeys,
  vmsa,
} from '@vouchsafe/sev';
import { drawMemoryKey, encryptMemory } from '../../memory/encryption.js';
import { protectVmsa } from '../../memory/vmsa-integrity.js';
import { refuse, refuseUnless } from '../command-refusal.js';
import { closeChannel, type GuestContext, requireAdmission } from '../guest-contexts.js';
import type { HostSnapshot } from '../host-snapshot.js';
import type { Processor } from '../processor.js';

/** Launching a guest (SEV API 0.24, chapter 6), in the order of the specification. */

export async function launchStart(processor: Processor, request: HostSnapshot): Promise<void> {
  const command = request.command(launchStartBuffer);
  const { session } = processor;
  const policy = parseGuestPolicy(command.policy);

  const channel = await openChannel(processor, request, command);
  try {
    const authenticated = command.certificateAddress !== 0n;
    refuseUnless(!authenticated || policy.reservedBits === 0, 'POLICY_FAILURE');
    refuseUnless(!authenticated || apiAtLeast(processor.api, minimumApiOf(command.policy)), 'POLICY_FAILURE');
    refuseUnless(!policy.encryptedState || session.encryptedState, 'UNSUPPORTED');
    const shared =
      command.handle === 0 ? undefined : keyToShare(session.guests.named(command.handle), command.policy);
    const handle = session.guests.freeHandle();
    const memoryKey = shared ?? drawMemoryKey(processor.random);
    session.guests.create({ handle, policy: command.policy, state: 'LUPDATE', memoryKey, channel });
    request.answer(launchStartBuffer, { ...command, handle });
  } catch (error) {
    channel.tek.zero();
    channel.tik.zero();
    throw error;
  }
}

export async function launchUpdateData(processor: Processor, request: HostSnapshot): Promise<void> {
  const command = request.command(launchUpdateDataBuffer);
  const guest = processor.session.guests.admit('LAUNCH_UPDATE_DATA', command.handle);
  requireGranules(command.address, command.length);

  const plaintext = request.take(command.address, command.length);
  guest.measured.update(plaintext);
  request.place(command.address, encryptMemory(guest.memoryKey, Number(command.address), plaintext));
}

/** The digest covers the page as the host gave it; the words of the integrity check are filled in after that. */
export async function launchUpdateVmsa(processor: Processor, request: HostSnapshot): Promise<void> {
  const command = request.command(launchUpdateVmsaBuffer);
  const { guests, trusted } = processor.session;
  const guest = guests.admit('LAUNCH_UPDATE_VMSA', command.handle);
  requireGranules(command.address, command.length);
  refuseUnless(command.length === vmsa.size, 'INVALID_LENGTH');

  const page = request.take(command.address, command.length);
  guest.measured.update(page);
  protectVmsa(page, trusted, trusted.allocate(guest.handle));
  request.place(command.address, encryptMemory(guest.memoryKey, Number(command.address), page));
}

/** Ends measuring: what is loaded after this was never the owner's. */
export async function launchMeasure(processor: Processor, request: HostSnapshot): Promise<void> {
  const command = request.command(launchMeasureBuffer);
  const guest = processor.session.guests.admit('LAUNCH_MEASURE', command.handle);
  if (command.length < launchMeasurementBlob.size) {
    request.answer(launchMeasureBuffer, { ...command, length: launchMeasurementBlob.size });
    refuse('INVALID_LENGTH');
  }
  request.range(command.address, launchMeasurementBlob.size);

  const { tik } = guest.channel;
  const mnonce = processor.random(16);
  const launchDigest = new Uint8Array(guest.measured.digest());
  const { api, build } = processor.profile;
  const measurement = await measureLaunch({
    ...api,
    buildId: build,
    tik,
    policy: guest.policy,
    launchDigest,
    mnonce,
  });
  guest.launchDigest = launchDigest;
  guest.measurement = measurement;
  guest.state = 'LSECRET';
  request.place(command.address, launchMeasurementBlob.build({ measurement, mnonce }));
  request.answer(launchMeasureBuffer, { ...command, length: launchMeasurementBlob.size });
}

/** Its order of checks is its own: lengths before the guest's state. */
export async function launchSecret(processor: Processor, request: HostSnapshot): Promise<void> {
  const command = request.command(launchSecretBuffer);
  const guest = processor.session.guests.named(command.handle);
  refuseUnless(command.guestAddress % 16n === 0n, 'INVALID_ADDRESS');
  refuseUnless(command.headerLength === secretPacketHeader.size, 'INVALID_LENGTH');
  refuseUnless(command.guestLength > 0 && command.guestLength % 16 === 0, 'INVALID_LENGTH');
  refuseUnless(command.guestLength <= largestSecretPacket, 'INVALID_LENGTH');
  refuseUnless(command.transportLength === command.guestLength, 'INVALID_LENGTH');
  requireAdmission('LAUNCH_SECRET', guest);
  const target = request.range(command.guestAddress, command.guestLength);

  const header = request.take(command.headerAddress, command.headerLength);
  const payload = request.take(command.transportAddress, command.transportLength);
  const plaintext = await openPacket(processor, guest, { header, payload });
  request.place(command.guestAddress, encryptMemory(guest.memoryKey, target.address, plaintext));
  plaintext.fill(0);
}

/** The transport keys are gone, and VMRUN may enter. */
export async function launchFinish(processor: Processor, request: HostSnapshot): Promise<void> {
  const command = request.command(launchFinishBuffer);
  const guest = processor.session.guests.admit('LAUNCH_FINISH', command.handle);
  closeChannel(guest);
  guest.state = 'RUNNING';
}

export async function attestation(processor: Processor, request: HostSnapshot): Promise<void> {
  const command = request.command(attestationBuffer);
  const { guests, identity } = processor.session;
  const guest = guests.admit('ATTESTATION', command.handle);
  if (command.length < attestationReport.size) {
    request.answer(attestationBuffer, { ...command, length: attestationReport.size });
    refuse('INVALID_LENGTH');
  }
  request.range(command.address, attestationReport.size);
  const launchDigest = guest.launchDigest ?? new Uint8Array(32);
  const { mnonce } = command;
  const report = await buildAttestationReport({
    mnonce,
    launchDigest,
    policy: guest.policy,
    pek: identity.pek.key,
  });
  request.place(command.address, report);
  request.answer(attestationBuffer, { ...command, length: attestationReport.size });
}

/**
 * The owner's transport keys. Where the host gives no certificate both are zero: anyone can then compute the
 * measurement, so it proves nothing. Firmware judges minimum API and reserved bits only where there is a session.
 */
async function openChannel(
  processor: Processor,
  request: HostSnapshot,
  command: {
    readonly policy: number;
    readonly certificateAddress: bigint;
    readonly certificateLength: number;
    readonly sessionAddress: bigint;
    readonly sessionLength: number;
  },
): Promise<TransportKeys> {
  if (command.certificateAddress === 0n) {
    return { tek: Secret.take(new Uint8Array(16)), tik: Secret.take(new Uint8Array(16)) };
  }
  refuseUnless(command.certificateLength === sevCertificate.size, 'INVALID_LENGTH');
  refuseUnless(command.sessionLength === launchSessionBuffer.size, 'INVALID_LENGTH');
  const certificate = request.take(command.certificateAddress, command.certificateLength);
  const session = request.take(command.sessionAddress, command.sessionLength);
  const owner = await ownerKey(certificate);
  const sharedSecret = await ecdhP384(processor.session.identity.pdh.key, owner);
  try {
    return await unwrapTransportKeys({ sharedSecret, session, policy: command.policy });
  } catch (error) {
    if (error instanceof SessionRefusedError) refuse('BAD_MEASUREMENT');
    throw error;
  } finally {
    sharedSecret.zero();
  }
}

/** The firmware looks at the form of the owner's certificate and at its key. A signature is neither needed nor checked. */
async function ownerKey(bytes: Uint8Array): Promise<P384PublicKey> {
  try {
    const { usage, algorithm, publicKey } = parseSevCertificate(bytes);
    const usable =
      usage === 'PDH' && algorithm === 'ECDH-SHA256' && isP384Key(publicKey) && (await isOnP384(publicKey));
    return usable ? publicKey : refuse('INVALID_CERTIFICATE');
  } catch (error) {
    if (error instanceof MalformedError) refuse('INVALID_CERTIFICATE');
    throw error;
  }
}

/** A copy of the key of a guest that lets itself be shared with guests of the same policy. */
function keyToShare(other: GuestContext, policy: number): Secret {
  const allowed = other.policy === policy && !parseGuestPolicy(policy).noKeySharing;
  refuseUnless(allowed, 'POLICY_FAILURE');
  return Secret.copyOf(openSecret(other.memoryKey));
}

async function openPacket(
  processor: Processor,
  guest: GuestContext,
  packet: { readonly header: Uint8Array; readonly payload: Uint8Array },
): Promise<Uint8Array> {
  try {
    const measurement = guest.measurement ?? new Uint8Array(32);
    return await openSecretPacket({ ...packet, ...guest.channel, ...processor.api, measurement });
  } catch (error) {
    if (error instanceof PacketUnsupportedError) refuse('UNSUPPORTED');
    if (error instanceof PacketRefusedError) refuse('BAD_MEASUREMENT');
    throw error;
  }
}

function requireGranules(address: bigint, length: number): void {
  refuseUnless(address % 16n === 0n, 'INVALID_ADDRESS');
  refuseUnless(length > 0 && length % 16 === 0, 'INVALID_LENGTH');
}
