import { type Secret, vmsa } from '@vouchsafe/sev';
import type { GuestProgram } from '../guest-view.js';
import type { VirtualMachineControl, VmExit } from '../mailbox.js';
import { isInside, type MemoryRange, type PhysicalMemory } from '../memory/dram.js';
import { decryptMemory, encryptMemory } from '../memory/encryption.js';
import { wordAt } from '../memory/vmsa-integrity.js';
import type { SnpVcpu } from '../rmp/guest-access.js';
import { pvalidate, rmpadjust } from '../rmp/guest-instructions.js';
import type { SnpGuest, SnpPlatform } from '../rmp/snp-platform.js';
import { type GuestMemory, locate, readGuest, requireWritable, writeGuest } from './guest-memory.js';
import { type EnteredGuest, Vcpu } from './vcpu.js';
import { type Runnable, VcpuTable } from './vcpu-table.js';
import { loadRegisters, saveRegisters, startsAtResetVector } from './vmsa-registers.js';

export interface SnpCoresOptions {
  readonly memory: PhysicalMemory;
  /** The trusted memory region of SEV-ES, where nothing of an SNP guest lies. */
  trusted(): MemoryRange | undefined;
  platform(): SnpPlatform | undefined;
  programFor(guest: Runnable): GuestProgram | undefined;
  readonly guestFailed: (error: unknown) => void;
}

/** SEV_FEATURES bit 0. */
const snpActive = 1n;

/**
 * VMRUN and #VMEXIT of SNP guests. Registers live in the VMSA, encrypted; that nobody but the guest and the processor
 * changes it is the reverse map table's doing, so there is no integrity value to keep beside it.
 */
export class SnpCores {
  readonly #options: SnpCoresOptions;
  readonly #vcpus = new VcpuTable<SnpGuest>();
  readonly #placed = new WeakMap<SnpGuest, Map<number, GuestProgram>>();

  constructor(options: SnpCoresOptions) {
    this.#options = options;
  }

  async enter(platform: SnpPlatform, guest: SnpGuest, control: VirtualMachineControl): Promise<VmExit> {
    const { memory } = this.#options;
    const { reverseMap } = platform;
    const key = guest.launch?.memoryKey;
    if (key === undefined || guest.state !== 'RUNNING')
      return invalid(`the guest is in state ${guest.state}: it runs after LAUNCH_FINISH`);
    const range = { address: control.vmsaAddress ?? -1, length: vmsa.size };
    if (range.address % vmsa.size !== 0 || !isInside(memory, range)) return invalid('the VMSA lies nowhere');

    // Table 15-41. A page that came from the host, or went through its hands since, has VMSA = 0.
    const entry = reverseMap.entry(range.address);
    const isOwn = entry.asid === guest.asid && !entry.immutable;
    if (!isOwn || !entry.vmsa)
      return invalid('the page is no VMSA of this guest, says the reverse map table');
    if (reverseMap.isInUse(range.address)) return invalid('the vCPU is running already');

    const page = decryptMemory(key, range.address, memory.read(range.address, range.length));
    // Word by word: to parse the whole page at each entry would take longer than all the rest of it.
    const vmpl = page[vmsa.offsetOf('vmpl')]!;
    if ((wordAt(page, 'sevFeatures') & snpActive) === 0n)
      return invalid('SEV_FEATURES of the VMSA lack SNPActive');
    if (vmpl > 3) return invalid(`the VMSA names VMPL ${vmpl}`);

    const vcpu = this.#vcpu(guest, { ...range, guestAddress: entry.guestAddress, page, vmpl });
    loadRegisters(page, vcpu.registers);
    guest.hasRun = true;
    reverseMap.hold(range.address);
    const entered = this.#entered(platform, guest, key, { asid: control.asid, vmpl }, control);
    const exit = await vcpu.enter(entered).finally(() => reverseMap.release(range.address));
    const isStillThere = !key.isZeroed && this.#options.platform() === platform;
    if (isStillThere) {
      saveRegisters(vcpu.registers, page);
      memory.write(range.address, encryptMemory(key, range.address, page));
    }
    page.fill(0);
    return exit;
  }

  /** Guests that DECOMMISSION or SHUTDOWN took away stop where they are. */
  removeInactive(): void {
    const platform = this.#options.platform();
    this.#vcpus.removeInactive(
      (guest) => guest.asid !== undefined && platform?.guestOf(guest.asid) === guest,
      (guest) => platform === undefined || guest.launch?.memoryKey.isZeroed !== false,
    );
  }

  removeAll(): void {
    this.#vcpus.removeAll();
  }

  /** A new vCPU runs what the guest placed there; the boot vCPU, at the reset vector, the guest's own program. */
  #vcpu(
    guest: SnpGuest,
    at: { address: number; guestAddress: number; page: Uint8Array; vmpl: number },
  ): Vcpu {
    const { programFor, guestFailed } = this.#options;
    const { vmpl, guestAddress } = at;
    const name = `${at.address} ${guestAddress} ${vmpl}`;
    const placed = this.#placed.get(guest);
    const program = placed?.get(guestAddress);
    const existing = this.#vcpus.find(guest, name);
    if (existing !== undefined && program === undefined) return existing;
    existing?.remove('the guest placed another program here');
    placed?.delete(guestAddress);
    const vcpu = new Vcpu({
      program: program ?? (startsAtResetVector(at.page) ? programFor(guest) : undefined),
      kind: { encryptedState: true, snp: true, vmpl },
      failed: guestFailed,
    });
    this.#vcpus.set(guest, name, vcpu);
    return vcpu;
  }

  #entered(
    platform: SnpPlatform,
    guest: SnpGuest,
    key: Secret,
    vcpu: SnpVcpu,
    { nestedPages, ghcbMsr = 0n }: VirtualMachineControl,
  ): EnteredGuest {
    const { memory, trusted } = this.#options;
    const { reverseMap } = platform;
    const space: GuestMemory = { memory, nestedPages, trusted: trusted(), reverseMap, snp: vcpu };
    const context = { reverseMap, vcpu, locate: (guestAddress: number) => locate(space, guestAddress) };
    return {
      readPrivate: (address, length) => readGuest(space, key, address, length),
      writePrivate: (address, bytes) => writeGuest(space, key, address, bytes),
      readShared: (address, length) => readGuest(space, undefined, address, length),
      writeShared: (address, bytes) => writeGuest(space, undefined, address, bytes),
      ghcbMsr,
      snp: {
        pvalidate: (address, operands) => pvalidate(context, address, operands),
        rmpadjust: (address, operands) => rmpadjust(context, address, operands),
        place: (program, vmsaGuestAddress) => {
          requireWritable(space, vmsaGuestAddress, vmsa.size);
          const placed = this.#placed.get(guest) ?? new Map<number, GuestProgram>();
          this.#placed.set(guest, placed.set(vmsaGuestAddress, program));
        },
      },
    };
  }
}

export const invalid = (detail: string): VmExit => ({ reason: 'invalid', detail });
