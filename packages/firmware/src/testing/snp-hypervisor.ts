import {
  type Generation,
  type GuestMessageType,
  openGuestMessage,
  type SnpCommandName,
  type SnpPageType,
  type StatusName,
  type Structure,
  sealGuestMessage,
  snpActivateBuffer,
  snpCommands,
  snpConfigBuffer,
  snpGctxBuffer,
  snpGuestRequestBuffer,
  snpLaunchFinishBuffer,
  snpLaunchStartBuffer,
  snpLaunchUpdateBuffer,
  snpPageReclaimBuffer,
  snpPageTypes,
  snpVlekLoadBuffer,
  type TcbVersion,
} from '@vouchsafe/sev';
import { type Chip, manufactureChip } from '../identity/chip.js';
import { drawVlekHashstick, vlekWrapKey, wrapVlekHashstick } from '../identity/vlek.js';
import type { PageSize, RmpUpdate } from '../mailbox.js';
import { createDram, type PhysicalMemory } from '../memory/dram.js';
import { Processor } from '../processor/processor.js';
import { type MachineProfile, machineProfiles, type SnpProfile } from '../profiles.js';
import { bytesOf } from '../rmp/page-state.js';
import { expectSuccess, seededRandom, statusOf } from './hypervisor.js';

/** Where tests of SEV-SNP put things in 8 MiB of memory. */
export const snpPlaces = {
  buffer: 0x1000,
  idBlock: 0x2000,
  idAuth: 0x3000,
  hashstick: 0x5000,
  request: 0x6000,
  plain: 0x7000,
  /** Firmware pages after `start`. */
  result: 0x10_0000,
  response: 0x10_1000,
  context: 0x20_0000,
  otherContext: 0x20_1000,
  thirdContext: 0x20_2000,
  /** Guest pages, at a multiple of 2 MiB. */
  pages: 0x40_0000,
} as const;

export const plainPolicy = 0x30000n;

export interface SnpHypervisorOptions {
  readonly generation?: Generation;
  readonly chip?: Chip;
  readonly snp?: Partial<SnpProfile>;
  readonly profile?: Partial<Omit<MachineProfile, 'snp'>>;
  readonly memory?: PhysicalMemory;
  readonly seed?: string;
}

/** A hypervisor for tests of SEV-SNP, one line a command. It sees the processor's inside, where a test wants to. */
export class SnpHypervisor {
  readonly processor: Processor;
  readonly memory: PhysicalMemory;
  readonly chip: Chip;

  constructor(options: SnpHypervisorOptions = {}) {
    const random = seededRandom(options.seed ?? 'snp');
    this.chip = options.chip ?? manufactureChip({ random, generation: options.generation ?? 'milan' });
    this.memory = options.memory ?? createDram(8 * 1024 * 1024);
    const standard = machineProfiles[this.chip.generation];
    const snp = standard.snp && { snp: { ...standard.snp, ...options.snp } };
    const profile = { ...standard, ...options.profile, ...snp };
    this.processor = new Processor({ profile, chip: this.chip, random, memory: this.memory });
  }

  get firmware() {
    return this.processor.snpFirmware!;
  }

  get reverseMap() {
    return this.processor.snp!.reverseMap;
  }

  /** Puts a buffer into memory and rings the mailbox. */
  async call<T extends object, B extends object>(
    name: SnpCommandName,
    buffer?: readonly [Structure<T, B>, B] | Uint8Array,
    address: number = snpPlaces.buffer,
  ): Promise<StatusName> {
    const bytes = buffer instanceof Uint8Array ? buffer : buffer?.[0].build(buffer[1]);
    if (bytes !== undefined) this.memory.write(address, bytes);
    return statusOf(await this.processor.submit(snpCommands[name], bytes === undefined ? 0 : address));
  }

  read<T extends object, B extends object>(structure: Structure<T, B>, address: number = snpPlaces.result) {
    return structure.parse(this.memory.read(address, structure.size));
  }

  rmpUpdate(address: number, request: Partial<RmpUpdate>): void {
    const none = { assigned: true, size: '4K', immutable: false, guestAddress: 0, asid: 0 } as const;
    const status = this.reverseMap.update(address, { ...none, ...request });
    if (status !== 0) throw new Error(`RMPUPDATE of 0x${address.toString(16)}: ${status}`);
  }

  firmwarePage(...addresses: number[]): void {
    for (const address of addresses) this.rmpUpdate(address, { immutable: true });
  }

  flush(): Promise<StatusName> {
    this.processor.caches.writtenBack();
    return this.call('SNP_DF_FLUSH');
  }

  /** INIT, the flush after it, and Firmware pages for results. */
  async start(): Promise<void> {
    expectSuccess(await this.call('SNP_INIT'));
    expectSuccess(await this.flush());
    this.firmwarePage(snpPlaces.result, snpPlaces.response);
  }

  create(context: number = snpPlaces.context): Promise<StatusName> {
    this.firmwarePage(context);
    return this.call('SNP_GCTX_CREATE', [snpGctxBuffer, { gctxAddress: BigInt(context) }]);
  }

  launchStart(
    policy: bigint = plainPolicy,
    options: Partial<Parameters<typeof snpLaunchStartBuffer.build>[0]> = {},
    context: number = snpPlaces.context,
  ): Promise<StatusName> {
    return this.call('SNP_LAUNCH_START', [
      snpLaunchStartBuffer,
      { gctxAddress: BigInt(context), policy, ...options },
    ]);
  }

  activate(asid: number, context: number = snpPlaces.context): Promise<StatusName> {
    return this.call('SNP_ACTIVATE', [snpActivateBuffer, { gctxAddress: BigInt(context), asid }]);
  }

  /** A guest in LAUNCH that owns an ASID. */
  async newGuest(
    options: {
      policy?: bigint;
      asid?: number;
      context?: number;
      start?: Parameters<SnpHypervisor['launchStart']>[1];
    } = {},
  ): Promise<void> {
    const { policy, asid = 1, context, start } = options;
    expectSuccess(await this.create(context));
    expectSuccess(await this.launchStart(policy, start, context));
    expectSuccess(await this.activate(asid, context));
  }

  preGuest(page: number, guestAddress: number, asid = 1, size: PageSize = '4K'): void {
    this.rmpUpdate(page, { immutable: true, asid, guestAddress, size });
  }

  /** Puts contents into a page, hands it to the guest and launches it. */
  async load(
    type: SnpPageType,
    options: {
      contents?: Uint8Array;
      page?: number;
      gpa?: number;
      asid?: number;
      size?: PageSize;
      context?: number;
      imiPage?: boolean;
      permissions?: readonly [number, number, number];
    } = {},
  ): Promise<StatusName> {
    const { page = snpPlaces.pages, gpa = 0x8000, asid = 1, size = '4K' } = options;
    this.memory.write(page, options.contents ?? new Uint8Array(bytesOf(size)));
    this.preGuest(page, gpa, asid, size);
    return this.launchUpdate(type, { ...options, page, size });
  }

  launchUpdate(
    type: SnpPageType,
    options: {
      page: number;
      size?: PageSize;
      context?: number;
      imiPage?: boolean;
      permissions?: readonly [number, number, number];
    },
  ): Promise<StatusName> {
    const { context = snpPlaces.context, imiPage = false, permissions = [0, 0, 0] } = options;
    return this.call('SNP_LAUNCH_UPDATE', [
      snpLaunchUpdateBuffer,
      {
        gctxAddress: BigInt(context),
        page: { large: options.size === '2M', type: snpPageTypes[type], imiPage },
        pageAddress: BigInt(options.page),
        vmpl1Permissions: permissions[0],
        vmpl2Permissions: permissions[1],
        vmpl3Permissions: permissions[2],
      },
    ]);
  }

  finish(
    options: {
      idBlock?: Uint8Array;
      idAuthentication?: Uint8Array;
      authorKey?: boolean;
      vcekDisabled?: boolean;
      hostData?: Uint8Array;
      context?: number;
    } = {},
  ): Promise<StatusName> {
    const { idBlock, idAuthentication, authorKey = false, vcekDisabled = false } = options;
    if (idBlock !== undefined) this.memory.write(snpPlaces.idBlock, idBlock);
    if (idAuthentication !== undefined) this.memory.write(snpPlaces.idAuth, idAuthentication);
    return this.call('SNP_LAUNCH_FINISH', [
      snpLaunchFinishBuffer,
      {
        gctxAddress: BigInt(options.context ?? snpPlaces.context),
        idBlockAddress: BigInt(snpPlaces.idBlock),
        idAuthAddress: BigInt(snpPlaces.idAuth),
        flags: { idBlock: idBlock !== undefined, authorKey, vcekDisabled },
        ...(options.hostData && { hostData: options.hostData }),
      },
    ]);
  }

  /** A guest that runs. */
  async runningGuest(
    options: Parameters<SnpHypervisor['newGuest']>[0] & {
      finish?: Parameters<SnpHypervisor['finish']>[0];
    } = {},
  ): Promise<void> {
    await this.newGuest(options);
    const context = options.context === undefined ? {} : { context: options.context };
    expectSuccess(await this.finish({ ...options.finish, ...context }));
  }

  decommission(context: number = snpPlaces.context): Promise<StatusName> {
    return this.call('SNP_DECOMMISSION', [snpGctxBuffer, { gctxAddress: BigInt(context) }]);
  }

  reclaim(page: number, large = false): Promise<StatusName> {
    return this.call('SNP_PAGE_RECLAIM', [snpPageReclaimBuffer, { page: { large, frame: page / 4096 } }]);
  }

  /** Ends a guest and takes its Context page back, so that another can be made there. */
  async remove(context: number = snpPlaces.context): Promise<void> {
    expectSuccess(await this.decommission(context));
    expectSuccess(await this.reclaim(context));
    this.rmpUpdate(context, { assigned: false });
    expectSuccess(await this.flush());
  }

  guest(context: number = snpPlaces.context) {
    return this.firmware.session.guests.named(context);
  }

  launch(context: number = snpPlaces.context) {
    return this.guest(context).launched;
  }

  /** A message as the guest would make it: under its key, numbered one above the firmware's counter. */
  sealed(
    type: GuestMessageType,
    payload: Uint8Array,
    options: { vmpck?: number; version?: number; sequence?: bigint; context?: number } = {},
  ): Promise<Uint8Array> {
    const { vmpck = 0, version } = options;
    const { messageKeys, messageCounts } = this.launch(options.context);
    const sequence = options.sequence ?? messageCounts[vmpck]! + 1n;
    return sealGuestMessage({ key: messageKeys[vmpck]!, vmpck, sequence, type, version, payload });
  }

  guestRequest(message: Uint8Array, context: number = snpPlaces.context): Promise<StatusName> {
    this.memory.write(snpPlaces.request, message);
    return this.call('SNP_GUEST_REQUEST', [
      snpGuestRequestBuffer,
      {
        gctxAddress: BigInt(context),
        requestAddress: BigInt(snpPlaces.request),
        responseAddress: BigInt(snpPlaces.response),
      },
    ]);
  }

  /** A whole exchange; the payload of the response. */
  async exchange(
    type: GuestMessageType,
    payload: Uint8Array,
    options: { vmpck?: number; version?: number; context?: number } = {},
  ): Promise<Uint8Array> {
    const { vmpck = 0, context } = options;
    expectSuccess(await this.guestRequest(await this.sealed(type, payload, options), context));
    const { messageKeys, messageCounts } = this.launch(context);
    const bytes = this.memory.read(snpPlaces.response, 4096);
    const sequence = messageCounts[vmpck]!;
    return (await openGuestMessage({ key: messageKeys[vmpck]!, vmpck, sequence, bytes })).payload;
  }

  config(values: { tcb?: TcbVersion; maskChipId?: boolean; maskChipKey?: boolean }): Promise<StatusName> {
    const { tcb, maskChipId = false, maskChipKey = false } = values;
    const reported = tcb && { reportedTcb: this.firmware.tcbBytes(tcb) };
    return this.call('SNP_CONFIG', [snpConfigBuffer, { flags: { maskChipId, maskChipKey }, ...reported }]);
  }

  commit(): Promise<StatusName> {
    return this.call('SNP_COMMIT', Uint8Array.of(4, 0, 0, 0));
  }

  /** Wraps a hashstick for this chip, or another, and loads it. */
  async loadVlek(
    options: { hashstick?: ReturnType<typeof drawVlekHashstick>; tcb?: TcbVersion; chip?: Chip } = {},
  ): Promise<StatusName> {
    const random = seededRandom('vlek');
    const { hashstick = drawVlekHashstick(random), tcb = this.firmware.session.reportedTcb } = options;
    const { line } = this.firmware.profile;
    const wrapKey = vlekWrapKey(options.chip ?? this.chip);
    this.memory.write(snpPlaces.hashstick, wrapVlekHashstick({ wrapKey, hashstick, line, tcb, random }));
    return this.call('SNP_VLEK_LOAD', [snpVlekLoadBuffer, { hashstickAddress: BigInt(snpPlaces.hashstick) }]);
  }
}
