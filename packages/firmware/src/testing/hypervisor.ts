import { createHash } from 'node:crypto';
import {
  activateBuffer,
  createLaunchSession,
  deactivateBuffer,
  decommissionBuffer,
  guestStatusBuffer,
  initBuffer,
  type LaunchSession,
  launchFinishBuffer,
  launchMeasureBuffer,
  launchMeasurementBlob,
  launchSecretBuffer,
  launchStartBuffer,
  launchUpdateDataBuffer,
  launchUpdateVmsaBuffer,
  p384KeyOf,
  parseSevCertificate,
  pdhCertExportBuffer,
  platformStatus,
  type RandomSource,
  type SecretPacket,
  type SevCommandName,
  type StatusName,
  type Structure,
  sevCommands,
  statusName,
  trustedMemorySize,
} from '@vouchsafe/sev';
import { manufactureChip } from '../identity/chip.js';
import { createSoftwareMachine, type SoftwareMachine, type SoftwareMachineOptions } from '../machine.js';
import type { HostMachine } from '../mailbox.js';

/** Bytes that look random and are the same every time: SHA-256 of a seed and a counter. */
export function seededRandom(seed: string): RandomSource {
  let counter = 0;
  return (length) => {
    const parts: Uint8Array[] = [];
    for (let have = 0; have < length; have += 32) {
      parts.push(createHash('sha256').update(`${seed} ${counter++}`).digest());
    }
    return new Uint8Array(Buffer.concat(parts).subarray(0, length));
  };
}

export function testMachine(options: Partial<SoftwareMachineOptions> = {}): SoftwareMachine {
  const random = options.random ?? seededRandom('machine');
  const chip = options.chip ?? manufactureChip({ random });
  return createSoftwareMachine({ memory: 8 * 1024 * 1024, ...options, chip, random });
}

/** Where tests put things in 8 MiB of memory. The trusted memory region lies at 1 MiB. */
export const places = {
  buffer: 0x1000,
  certificate: 0x2000,
  session: 0x3000,
  answer: 0x4000,
  chain: 0x8000,
  header: 0xa000,
  payload: 0xb000,
  store: 0x20000,
  trusted: 0x10_0000,
  image: 0x40_0000,
  vmsa: 0x50_0000,
  ghcb: 0x51_0000,
} as const;

/** A hypervisor for tests, one line a command. */
export class TestHypervisor {
  readonly host: HostMachine;

  constructor(host: HostMachine) {
    this.host = host;
  }

  /** Puts a buffer into memory and rings the mailbox. */
  async call<T extends object, B extends object>(
    name: SevCommandName,
    buffer?: readonly [Structure<T, B>, B],
    address: number = places.buffer,
  ): Promise<StatusName> {
    if (buffer !== undefined) await this.host.memory.write(address, buffer[0].build(buffer[1]));
    return statusOf(await this.host.submit(sevCommands[name], buffer === undefined ? 0 : address));
  }

  /** What a command left in its buffer. */
  async answer<T extends object, B extends object>(structure: Structure<T, B>) {
    return structure.parse(await this.host.memory.read(places.buffer, structure.size));
  }

  init(mode: 'sev' | 'sev-es' = 'sev'): Promise<StatusName> {
    const encryptedState = mode === 'sev-es';
    const trusted = { tmrAddress: BigInt(places.trusted), tmrLength: trustedMemorySize };
    return this.call('INIT', [initBuffer, { flags: { encryptedState }, ...(encryptedState ? trusted : {}) }]);
  }

  async status() {
    await this.call('PLATFORM_STATUS', [
      platformStatus,
      {
        apiMajor: 0,
        apiMinor: 0,
        state: 'UNINIT',
        owner: { externallyOwned: false },
        config: { encryptedState: false, build: 0 },
        guestCount: 0,
      },
    ]);
    return this.answer(platformStatus);
  }

  /** INIT and the flush after it: ready for guests. */
  async start(mode: 'sev' | 'sev-es' = 'sev'): Promise<void> {
    expectSuccess(await this.init(mode));
    await this.flush();
  }

  async flush(): Promise<void> {
    await this.host.writeBackAndInvalidate();
    expectSuccess(await this.call('DF_FLUSH'));
  }

  async exportCertificates() {
    const command = {
      pdhAddress: BigInt(places.certificate),
      pdhLength: 0x824,
      chainAddress: BigInt(places.chain),
      chainLength: 0x186c,
    };
    expectSuccess(await this.call('PDH_CERT_EXPORT', [pdhCertExportBuffer, command]));
    const pdh = await this.host.memory.read(places.certificate, 0x824);
    const chain = await this.host.memory.read(places.chain, 0x186c);
    return { pdh, pek: chain.slice(0, 0x824), oca: chain.slice(0x824, 0x1048), cek: chain.slice(0x1048) };
  }

  async ownerSession(policy: number, random = seededRandom('owner')): Promise<LaunchSession> {
    const { pdh } = await this.exportCertificates();
    return createLaunchSession({ pdh: p384KeyOf(parseSevCertificate(pdh)), policy, random });
  }

  async launchStart(
    policy: number,
    options: { session?: LaunchSession; share?: number } = {},
  ): Promise<StatusName> {
    const { session, share = 0 } = options;
    if (session === undefined)
      return this.call('LAUNCH_START', [launchStartBuffer, { policy, handle: share }]);
    await this.host.memory.write(places.certificate, session.godhCertificate);
    await this.host.memory.write(places.session, session.session);
    return this.call('LAUNCH_START', [
      launchStartBuffer,
      {
        handle: share,
        policy,
        certificateAddress: BigInt(places.certificate),
        certificateLength: 0x824,
        sessionAddress: BigInt(places.session),
        sessionLength: 0x80,
      },
    ]);
  }

  /** A new guest; its handle. */
  async newGuest(policy: number, options: { session?: LaunchSession; share?: number } = {}): Promise<number> {
    expectSuccess(await this.launchStart(policy, options));
    return (await this.answer(launchStartBuffer)).handle;
  }

  activate(handle: number, asid: number): Promise<StatusName> {
    return this.call('ACTIVATE', [activateBuffer, { handle, asid }]);
  }

  deactivate(handle: number): Promise<StatusName> {
    return this.call('DEACTIVATE', [deactivateBuffer, { handle }]);
  }

  decommission(handle: number): Promise<StatusName> {
    return this.call('DECOMMISSION', [decommissionBuffer, { handle }]);
  }

  async load(handle: number, address: number, bytes: Uint8Array): Promise<StatusName> {
    await this.host.memory.write(address, bytes);
    return this.updateData(handle, address, bytes.length);
  }

  updateData(handle: number, address: number, length: number): Promise<StatusName> {
    return this.call('LAUNCH_UPDATE_DATA', [
      launchUpdateDataBuffer,
      { handle, address: BigInt(address), length },
    ]);
  }

  async loadVmsa(handle: number, page: Uint8Array, address: number = places.vmsa): Promise<StatusName> {
    await this.host.memory.write(address, page);
    return this.call('LAUNCH_UPDATE_VMSA', [
      launchUpdateVmsaBuffer,
      { handle, address: BigInt(address), length: page.length },
    ]);
  }

  measure(handle: number, length = 0x30): Promise<StatusName> {
    return this.call('LAUNCH_MEASURE', [
      launchMeasureBuffer,
      { handle, address: BigInt(places.answer), length },
    ]);
  }

  async measurement(handle: number) {
    expectSuccess(await this.measure(handle));
    return launchMeasurementBlob.parse(
      await this.host.memory.read(places.answer, launchMeasurementBlob.size),
    );
  }

  async inject(handle: number, packet: SecretPacket, guestAddress: number): Promise<StatusName> {
    await this.host.memory.write(places.header, packet.header);
    await this.host.memory.write(places.payload, packet.payload);
    return this.call('LAUNCH_SECRET', [
      launchSecretBuffer,
      {
        handle,
        headerAddress: BigInt(places.header),
        headerLength: packet.header.length,
        guestAddress: BigInt(guestAddress),
        guestLength: packet.payload.length,
        transportAddress: BigInt(places.payload),
        transportLength: packet.payload.length,
      },
    ]);
  }

  finish(handle: number): Promise<StatusName> {
    return this.call('LAUNCH_FINISH', [launchFinishBuffer, { handle }]);
  }

  async guestStatus(handle: number) {
    expectSuccess(await this.call('GUEST_STATUS', [guestStatusBuffer, { handle }]));
    return this.answer(guestStatusBuffer);
  }
}

export function statusOf(code: number): StatusName {
  const name = statusName(code);
  if (name === undefined) throw new Error(`unknown status ${code}`);
  return name;
}

export function expectSuccess(status: StatusName): void {
  if (status !== 'SUCCESS') throw new Error(`expected SUCCESS, found ${status}`);
}
