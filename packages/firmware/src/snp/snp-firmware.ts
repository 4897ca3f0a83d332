import {
  buildTcbVersion,
  type P384PrivateKey,
  parseTcbVersion,
  type SnpFirmwareVersion,
  type SnpPlatformInfoFields,
  type TcbLayout,
  type TcbVersion,
  tcbDifferences,
  tcbLayout,
} from '@vouchsafe/sev';
import { type CommittedFirmware, committedFirmware } from '../identity/committed-firmware.js';
import { snpChipId, vcekKey } from '../identity/vcek.js';
import type { Vlek } from '../identity/vlek.js';
import type { MemoryRange } from '../memory/dram.js';
import { refuse } from '../processor/command-refusal.js';
import type { Processor } from '../processor/processor.js';
import type { SnpProfile } from '../profiles.js';
import { bytesOf, smallPage } from '../rmp/page-state.js';
import { ReverseMap } from '../rmp/reverse-map.js';
import type { SnpPlatform } from '../rmp/snp-platform.js';
import { SnpAsids } from './asids.js';
import type { SnpPlatformState } from './commands/state-table.js';
import { type SnpGuestContext, SnpGuests } from './guest-contexts.js';

/** What INIT sets up and SHUTDOWN forgets. */
export interface SnpSession {
  readonly reverseMap: ReverseMap;
  readonly guests: SnpGuests;
  readonly asids: SnpAsids;
  readonly raplDisabled: boolean;
  readonly ciphertextHiding: boolean;
  maskChipId: boolean;
  maskChipKey: boolean;
  /** The TCB version that VEKs are for. */
  reportedTcb: TcbVersion;
  vlek: Vlek | undefined;
}

export interface SnpSessionOptions {
  /** Makes the reverse map table anew: all of memory is the hypervisor's. */
  readonly initRmp: boolean;
  readonly raplDisabled: boolean;
  readonly ciphertextHiding: boolean;
  readonly largestAsid: number;
  /** Ranges that are HV-Fixed from now on. */
  readonly fixed: readonly MemoryRange[];
}

/** The part of the processor that SEV-SNP adds: its platform state, and what of it outlasts a SHUTDOWN. */
export class SnpFirmware {
  readonly profile: SnpProfile;
  readonly layout: TcbLayout;
  readonly #processor: Processor;
  readonly #fixed: MemoryRange[] = [];
  #reverseMap: ReverseMap | undefined;
  #platform: SnpPlatform | undefined;
  #vcek: { readonly tcb: TcbVersion; readonly key: P384PrivateKey } | undefined;
  #chipId: Uint8Array | undefined;
  #session: SnpSession | undefined;

  constructor(processor: Processor, profile: SnpProfile) {
    this.#processor = processor;
    this.profile = profile;
    this.layout = tcbLayout(profile.line);
  }

  get state(): SnpPlatformState {
    return this.#session === undefined ? 'UNINIT' : 'INIT';
  }

  /** What INIT set up; undefined in UNINIT. */
  get current(): SnpSession | undefined {
    return this.#session;
  }

  /** For commands that the state table admits after INIT only. */
  get session(): SnpSession {
    return this.#session ?? refuse('INVALID_PLATFORM_STATE');
  }

  /** In force from the first INIT on, and after a SHUTDOWN that leaves the cores in SNP mode. */
  get reverseMap(): ReverseMap | undefined {
    return this.#reverseMap;
  }

  /** What memory and cores must know. */
  get platform(): SnpPlatform | undefined {
    return this.#platform;
  }

  /** Of the firmware that runs. */
  get version(): SnpFirmwareVersion {
    const { api, build } = this.#processor.profile;
    return { major: api.apiMajor, minor: api.apiMinor, build };
  }

  get currentTcb(): TcbVersion {
    return this.profile.currentTcb;
  }

  /** What the chip has committed; on a new chip, what runs. */
  get committed(): { readonly tcb: TcbVersion; readonly version: SnpFirmwareVersion } {
    const { tcb, version } = this.committedRecord ?? {
      tcb: this.tcbBytes(this.currentTcb),
      version: this.version,
    };
    return { tcb: parseTcbVersion(tcb, this.layout), version };
  }

  get committedRecord(): CommittedFirmware | undefined {
    return committedFirmware(this.#processor.chip);
  }

  tcbBytes(tcb: TcbVersion): Uint8Array {
    return buildTcbVersion(tcb, this.layout);
  }

  /** The VCEK of the reported TCB version, derived once. */
  get vcek(): P384PrivateKey {
    const { reportedTcb } = this.session;
    if (this.#vcek !== undefined && tcbDifferences(this.#vcek.tcb, reportedTcb).length === 0)
      return this.#vcek.key;
    this.#forgetVcek();
    this.#vcek = { tcb: reportedTcb, key: vcekKey(this.#processor.chip, reportedTcb) };
    return this.#vcek.key;
  }

  /** CHIP_ID of reports, 64 bytes, derived once. */
  get chipId(): Uint8Array {
    this.#chipId ??= snpChipId(this.#processor.chip);
    return this.#chipId.slice();
  }

  /** PLATFORM_INFO of reports. */
  get platformInfo(): SnpPlatformInfoFields {
    const { settings } = this.profile;
    return {
      smtEnabled: settings.smt,
      tsmeEnabled: settings.tsme,
      eccEnabled: settings.ecc,
      raplDisabled: this.#session?.raplDisabled ?? false,
      ciphertextHidingEnabled: this.#session?.ciphertextHiding ?? false,
      aliasCheckComplete: settings.aliasCheckComplete,
      tioEnabled: false,
    };
  }

  begin(options: SnpSessionOptions): void {
    const { memory, caches, profile } = this.#processor;
    const { initRmp, fixed, raplDisabled, ciphertextHiding, largestAsid } = options;
    const reverseMap =
      initRmp || this.#reverseMap === undefined
        ? new ReverseMap(memory, profile.capabilities)
        : this.#reverseMap;
    this.#fixed.push(...fixed);
    for (const { address, length } of this.#fixed) {
      for (let at = address; at < address + length; at += smallPage) reverseMap.setState(at, 'HV-Fixed');
    }
    this.#reverseMap = reverseMap;
    this.#platform = { reverseMap, guestOf: (asid) => this.#session?.asids.owner(asid) };
    caches.allDirty();
    const isTaken = (asid: number) =>
      this.#processor.current?.asids.owner(asid) !== undefined || reverseMap.hasPagesOf(asid);
    this.#session = {
      reverseMap,
      guests: new SnpGuests(),
      asids: new SnpAsids({ largest: largestAsid, isTaken }, caches),
      raplDisabled,
      ciphertextHiding,
      maskChipId: false,
      maskChipKey: false,
      reportedTcb: this.committed.tcb,
      vlek: undefined,
    };
  }

  /** Takes a guest out of the session; its Context page is the firmware's again. */
  remove(guest: SnpGuestContext): void {
    const { guests, asids, reverseMap } = this.session;
    asids.deactivate(guest);
    guests.remove(guest);
    reverseMap.setState(guest.address, 'Firmware');
  }

  forgetVlek(): void {
    const { session } = this;
    session.vlek?.hashstick.zero();
    session.vlek?.key.scalar.zero();
    session.vlek = undefined;
  }

  /** SHUTDOWN: drops all guests and their keys. */
  end(pages: 'keep' | 'give back' | 'no table'): void {
    const session = this.#session;
    if (session === undefined) return;
    for (const guest of [...session.guests]) this.remove(guest);
    this.forgetVlek();
    this.#forgetVcek();
    this.#session = undefined;
    if (pages === 'give back') this.#giveBack(session.reverseMap);
    if (pages === 'no table') this.#reverseMap = this.#platform = undefined;
  }

  #forgetVcek(): void {
    this.#vcek?.key.scalar.zero();
    this.#vcek = undefined;
  }

  #giveBack(reverseMap: ReverseMap): void {
    for (let at = 0; at < this.#processor.memory.size; ) {
      const { size } = reverseMap.entry(at);
      if (reverseMap.state(at) !== 'HV-Fixed') reverseMap.setState(at, 'Hypervisor');
      at += bytesOf(size);
    }
  }
}
