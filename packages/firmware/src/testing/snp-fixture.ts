import { buildResetVmsa, type PageState, Secret, vmsa } from '@vouchsafe/sev';
import { SnpCores } from '../cpu/snp-vmrun.js';
import type { Runnable } from '../cpu/vcpu-table.js';
import type { GuestProgram } from '../guest-view.js';
import type { NestedMapping, PageSize, VirtualMachineControl, VmExit } from '../mailbox.js';
import { createDram, type PhysicalMemory } from '../memory/dram.js';
import { decryptMemory, encryptMemory } from '../memory/encryption.js';
import { bytesOf } from '../rmp/page-state.js';
import { type PageAttributes, ReverseMap } from '../rmp/reverse-map.js';
import type { SnpGuest, SnpPlatform } from '../rmp/snp-platform.js';
import { seededRandom } from './hypervisor.js';

/** What a test's SNP guest is: its context, and where its memory begins in the host's. */
export interface FixtureGuest extends SnpGuest {
  asid: number | undefined;
  state: SnpGuest['state'];
  readonly launch: { readonly memoryKey: Secret };
}

/** Where the guest of a fixture has its things: guest addresses, and the same in system memory. */
export const snpPlaces = {
  memory: { guest: 0, system: 0x40_0000, length: 0x10_0000 },
  shared: { guest: 0x80_0000, system: 0x30_0000, length: 0x4000 },
  /** KVM's place for what the firmware launches: nothing else is mapped there. */
  bootVmsa: { guest: 0xffff_ffff_f000, system: 0x20_0000 },
} as const;

/**
 * A processor's reverse map, memory and cores with one SNP guest that was launched already, without the commands that
 * launch it: its memory is valid, its boot VMSA in place.
 */
export class SnpFixture {
  readonly memory: PhysicalMemory = createDram(8 * 1024 * 1024);
  readonly reverseMap = new ReverseMap(this.memory, { maximumAsid: 509 });
  readonly failures: unknown[] = [];
  readonly guest: FixtureGuest = newGuest(5);
  readonly guests: FixtureGuest[] = [this.guest];
  readonly cores: SnpCores;
  platform: SnpPlatform | undefined;
  /** What runs in other guests than the first. */
  readonly programs = new Map<Runnable, GuestProgram>();
  nestedPages: NestedMapping[];

  constructor(program?: GuestProgram) {
    if (program !== undefined) this.programs.set(this.guest, program);
    const { memory, shared, bootVmsa } = snpPlaces;
    this.nestedPages = [memory, shared].map(({ guest, system, length }) => ({
      guestAddress: guest,
      systemAddress: system,
      length,
    }));
    this.platform = {
      reverseMap: this.reverseMap,
      guestOf: (asid) => this.guests.find((each) => each.asid === asid),
    };
    this.cores = new SnpCores({
      memory: this.memory,
      trusted: () => undefined,
      platform: () => this.platform,
      programFor: (guest) => this.programs.get(guest),
      guestFailed: (error) => this.failures.push(error),
    });
    for (let at = 0; at < memory.length; at += 4096) this.own(memory.system + at, memory.guest + at);
    this.launchVmsa(bootVmsa.system, resetVmsa());
  }

  /** Gives a page to the guest, or puts it into any other state. */
  own(
    address: number,
    guestAddress: number,
    state: PageState = 'Guest-Valid',
    more: PageAttributes = {},
  ): void {
    const { asid = 0 } = this.guest;
    this.reverseMap.setState(address, state, { asid, guestAddress, permissions: [0x1f, 0, 0, 0], ...more });
  }

  /** The same for a page of 2 MiB. */
  ownLarge(address: number, guestAddress: number, state: PageState = 'Guest-Valid'): void {
    const { asid = 0 } = this.guest;
    const large = { assigned: true, size: '2M', immutable: false, guestAddress, asid } as const;
    this.reverseMap.update(address, large);
    this.own(address, guestAddress, state);
  }

  /** Another guest on the same machine, with its boot VMSA at this address. */
  addGuest(asid: number, program: GuestProgram, vmsaAddress: number): FixtureGuest {
    const guest = newGuest(asid);
    this.guests.push(guest);
    this.programs.set(guest, program);
    this.launchVmsa(vmsaAddress, resetVmsa(), snpPlaces.bootVmsa.guest, guest);
    return guest;
  }

  /** As LAUNCH_UPDATE does with a page of type VMSA. */
  launchVmsa(
    address: number,
    page: Uint8Array,
    guestAddress: number = snpPlaces.bootVmsa.guest,
    { asid = 0, launch }: FixtureGuest = this.guest,
  ): void {
    this.memory.write(address, encryptMemory(launch.memoryKey, address, page));
    this.own(address, guestAddress, 'Guest-Valid', { vmsa: true, asid });
  }

  vmsa(address: number) {
    const key = this.guest.launch.memoryKey;
    return vmsa.parse(decryptMemory(key, address, this.memory.read(address, vmsa.size)));
  }

  /** VMRUN: of the first guest's boot vCPU, unless something else is said. */
  enter(
    vmsaAddress: number = snpPlaces.bootVmsa.system,
    more: Pick<VirtualMachineControl, 'ghcbMsr'> = {},
    guest: FixtureGuest = this.guest,
  ): Promise<VmExit> {
    if (this.platform === undefined) throw new Error('the platform is gone');
    const { asid = 0 } = guest;
    const control = { asid, nestedPages: this.nestedPages, vmsaAddress, ...more };
    return this.cores.enter(this.platform, guest, control);
  }

  /** RMPUPDATE as a host gives a page to a guest. */
  assign(address: number, guestAddress: number, asid = this.guest.asid ?? 0, size: PageSize = '4K'): number {
    if (address % bytesOf(size) !== 0) throw new Error('not a page');
    return this.reverseMap.update(address, { assigned: true, size, immutable: false, guestAddress, asid });
  }

  /** RMPUPDATE as a host takes a page back. */
  take(address: number, size: PageSize = '4K'): number {
    const hypervisors = { assigned: false, size, immutable: false, guestAddress: 0, asid: 0 };
    return this.reverseMap.update(address, hypervisors);
  }
}

export function newGuest(asid: number, seed = `guest ${asid}`): FixtureGuest {
  const launch = { memoryKey: Secret.take(seededRandom(seed)(32)) };
  return { asid, state: 'RUNNING', launch, hasRun: false };
}

/** Register state of a vCPU: of the boot vCPU at reset unless something else is said. */
export function resetVmsa(fields: { vmpl?: number; sevFeatures?: bigint; rip?: bigint } = {}): Uint8Array {
  const page = buildResetVmsa({ vcpuSignature: 0xa00f11, cpu: 'boot', sevFeatures: 1n });
  return vmsa.build({ ...vmsa.parse(page), ...fields });
}
