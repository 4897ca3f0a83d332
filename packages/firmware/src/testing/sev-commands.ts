import {
  activateBuffer,
  activateExBuffer,
  attestationBuffer,
  buildSecretPacket,
  buildSevCertificate,
  copyBuffer,
  deactivateBuffer,
  debugDecryptBuffer,
  debugEncryptBuffer,
  decommissionBuffer,
  downloadFirmwareBuffer,
  generateP384,
  getIdBuffer,
  guestStatusBuffer,
  initBuffer,
  initExBuffer,
  launchFinishBuffer,
  launchMeasureBuffer,
  launchSecretBuffer,
  launchStartBuffer,
  launchUpdateDataBuffer,
  launchUpdateVmsaBuffer,
  type P384PrivateKey,
  pdhCertExportBuffer,
  pekCertImportBuffer,
  pekCsrBuffer,
  platformStatus,
  receiveFinishBuffer,
  receiveStartBuffer,
  receiveUpdateDataBuffer,
  receiveUpdateVmsaBuffer,
  Secret,
  type SevCommandName,
  type StatusName,
  sendCancelBuffer,
  sendFinishBuffer,
  sendStartBuffer,
  sendUpdateDataBuffer,
  sendUpdateVmsaBuffer,
  sevCommands,
  signSevCertificate,
} from '@vouchsafe/sev';
import { createFlash, manufactureChip } from '../identity/chip.js';
import { createDram } from '../memory/dram.js';
import { Processor } from '../processor/processor.js';
import { machineProfiles } from '../profiles.js';
import { expectSuccess, places, seededRandom, statusOf } from './hypervisor.js';

/** States of the platform, and those of the guest whose handle is 1. */
export const columns = [
  'UNINIT',
  'INIT',
  'LUPDATE',
  'LSECRET',
  'RUNNING',
  'SUPDATE',
  'RUPDATE',
  'SENT',
] as const;
export type Column = (typeof columns)[number];

/** Commands that are legal only while the guest owns no ASID. */
export const startInactive: readonly SevCommandName[] = ['ACTIVATE', 'ACTIVATE_EX', 'DECOMMISSION'];

const policyWithEncryptedState = 4;
export const random = seededRandom('table');
export const memory = createDram(8 * 1024 * 1024);
let owner: P384PrivateKey;

const soldChip = manufactureChip({ random });

/** For `beforeAll`: keys are made once, at the first INIT; each test gets a copy of the chip as it was then. */
export async function makeKeys(): Promise<void> {
  owner = await generateP384();
  const processor = new Processor({ profile: machineProfiles.milan, chip: soldChip, random, memory });
  memory.write(places.buffer, initBuffer.build({ flags: { encryptedState: false } }));
  expectSuccess(statusOf(await processor.submit(sevCommands.INIT, places.buffer)));
}

export const copyOfChip = () => ({ ...soldChip, flash: createFlash(soldChip.flash.read()) });

/** A processor in the given state; guests of later issues' states are put there by hand. */
export async function processorIn(column: Column, options: { active: boolean; policy?: number }) {
  const processor = new Processor({
    profile: machineProfiles.milan,
    chip: copyOfChip(),
    random,
    memory,
  });
  if (column === 'UNINIT') return { processor, guest: undefined };
  const trusted = { tmrAddress: BigInt(places.trusted), tmrLength: 0x10_0000 };
  memory.write(places.buffer, initBuffer.build({ flags: { encryptedState: true }, ...trusted }));
  await processor.submit(sevCommands.INIT, places.buffer);
  await processor.submit(sevCommands.DF_FLUSH, 0);
  if (column === 'INIT') return { processor, guest: undefined };
  const { policy = policyWithEncryptedState } = options;
  memory.write(places.buffer, launchStartBuffer.build({ policy }));
  expectSuccess(statusOf(await processor.submit(sevCommands.LAUNCH_START, places.buffer)));
  const context = processor.session.guests.named(1);
  if (options.active) processor.session.asids.activate(5, context);
  context.state = column;
  return { processor, guest: context };
}

export async function commandBuffer(
  name: SevCommandName,
  processor: Processor,
): Promise<Uint8Array | undefined> {
  const handle = 1;
  const address = BigInt(places.image);
  const length = 4096;
  const update = { handle, address, length };
  const packet = {
    handle,
    headerAddress: BigInt(places.header),
    headerLength: 0x34,
    guestAddress: address,
    guestLength: 16,
    transportAddress: BigInt(places.payload),
    transportLength: 16,
  };
  const moving = { handle, sourceAddress: address, destinationAddress: address + 4096n, length };
  switch (name) {
    case 'INIT':
      return initBuffer.build({ flags: { encryptedState: false } });
    case 'INIT_EX':
      return initExBuffer.build({ flags: { encryptedState: false } });
    case 'PLATFORM_STATUS':
      return new Uint8Array(platformStatus.size);
    case 'PEK_CSR':
      return pekCsrBuffer.build({ address, length });
    case 'PEK_CERT_IMPORT':
      return importBuffer(processor);
    case 'PDH_CERT_EXPORT':
      return pdhCertExportBuffer.build({
        pdhAddress: address,
        pdhLength: 0x824,
        chainAddress: address + 4096n,
        chainLength: 0x186c,
      });
    case 'GET_ID':
      return getIdBuffer.build({ address, length });
    case 'DOWNLOAD_FIRMWARE':
      return downloadFirmwareBuffer.build({ address, length });
    case 'LAUNCH_START':
      return launchStartBuffer.build({ policy: 0 });
    case 'LAUNCH_UPDATE_DATA':
      return launchUpdateDataBuffer.build(update);
    case 'LAUNCH_UPDATE_VMSA':
      return launchUpdateVmsaBuffer.build(update);
    case 'LAUNCH_MEASURE':
      return launchMeasureBuffer.build(update);
    case 'LAUNCH_SECRET':
      await placePacket();
      return launchSecretBuffer.build(packet);
    case 'LAUNCH_FINISH':
      return launchFinishBuffer.build({ handle });
    case 'ATTESTATION':
      return attestationBuffer.build({ ...update, mnonce: new Uint8Array(16) });
    case 'ACTIVATE':
      return activateBuffer.build({ handle, asid: 6 });
    case 'ACTIVATE_EX':
      return activateExBuffer.build({ handle, asid: 6, idCount: 2, idListAddress: address });
    case 'DEACTIVATE':
      return deactivateBuffer.build({ handle });
    case 'DECOMMISSION':
      return decommissionBuffer.build({ handle });
    case 'GUEST_STATUS':
      return guestStatusBuffer.build({ handle });
    case 'COPY':
      return copyBuffer.build(moving);
    case 'DBG_DECRYPT':
      return debugDecryptBuffer.build(moving);
    case 'DBG_ENCRYPT':
      return debugEncryptBuffer.build(moving);
    case 'SEND_START':
      return sendStartBuffer.build({ handle, pdhAddress: address, pdhLength: 0x824 });
    case 'SEND_UPDATE_DATA':
      return sendUpdateDataBuffer.build(packet);
    case 'SEND_UPDATE_VMSA':
      return sendUpdateVmsaBuffer.build(packet);
    case 'SEND_FINISH':
      return sendFinishBuffer.build({ handle });
    case 'SEND_CANCEL':
      return sendCancelBuffer.build({ handle });
    case 'RECEIVE_START':
      return receiveStartBuffer.build({ policy: 0 });
    case 'RECEIVE_UPDATE_DATA':
      return receiveUpdateDataBuffer.build(packet);
    case 'RECEIVE_UPDATE_VMSA':
      return receiveUpdateVmsaBuffer.build(packet);
    case 'RECEIVE_FINISH':
      return receiveFinishBuffer.build({ handle });
    default:
      return undefined;
  }
}

async function importBuffer(processor: Processor): Promise<Uint8Array> {
  const ocaAddress = BigInt(places.certificate);
  const pekAddress = BigInt(places.certificate + 0x1000);
  const identity = processor.current?.identity;
  if (identity !== undefined) {
    const signer = { usage: 'OCA', algorithm: 'ECDSA-SHA256', key: owner } as const;
    const oca = buildSevCertificate({ apiMajor: 1, apiMinor: 55, ...signer, publicKey: owner.publicKey });
    memory.write(Number(ocaAddress), await signSevCertificate(oca, signer));
    const unsigned = identity.pek.certificate.slice();
    const parsedSlots = unsigned.subarray(0x414);
    parsedSlots.fill(0);
    new DataView(unsigned.buffer).setUint32(0x414, 0x1000, true);
    new DataView(unsigned.buffer).setUint32(0x61c, 0x1000, true);
    memory.write(Number(pekAddress), await signSevCertificate(unsigned, signer));
  }
  return pekCertImportBuffer.build({ pekAddress, pekLength: 0x824, ocaAddress, ocaLength: 0x824 });
}

/** A packet under the keys of a launch without a session, all zero, and a measurement of zeros. */
async function placePacket(): Promise<void> {
  const zero = () => Secret.take(new Uint8Array(16));
  const packet = await buildSecretPacket({
    tek: zero(),
    tik: zero(),
    iv: new Uint8Array(16),
    measurement: new Uint8Array(32),
    plaintext: new Uint8Array(16),
    apiMajor: 1,
    apiMinor: 55,
  });
  memory.write(places.header, packet.header);
  memory.write(places.payload, packet.payload);
}

export async function run(name: SevCommandName, processor: Processor): Promise<StatusName> {
  const buffer = await commandBuffer(name, processor);
  if (buffer !== undefined) memory.write(places.buffer, buffer);
  return statusOf(await processor.submit(sevCommands[name], buffer === undefined ? 0 : places.buffer));
}
