import { vmsa } from '@vouchsafe/sev';
import type { GuestProgram } from '../guest-view.js';
import type { VirtualMachineControl, VmExit } from '../mailbox.js';
import { isInside, overlap } from '../memory/dram.js';
import { decryptMemory, encryptMemory } from '../memory/encryption.js';
import { isVmsaIntact, refreshVmsa } from '../memory/vmsa-integrity.js';
import type { GuestContext } from '../processor/guest-contexts.js';
import type { Processor, Session } from '../processor/processor.js';
import type { SnpPlatform } from '../rmp/snp-platform.js';
import { readGuest, writeGuest } from './guest-memory.js';
import { invalid, SnpCores } from './snp-vmrun.js';
import { type EnteredGuest, Vcpu } from './vcpu.js';
import { type Runnable, VcpuTable } from './vcpu-table.js';
import { loadRegisters, saveRegisters, startsAtResetVector } from './vmsa-registers.js';

export interface VmrunOptions {
  readonly processor: Processor;
  /** What SNP_INIT set up; undefined before. */
  snp(): SnpPlatform | undefined;
  /** The code that the guest's memory holds, as far as this machine is concerned. */
  programFor(guest: Runnable): GuestProgram | undefined;
  /** Told what a guest's program threw; the guest itself ends with a triple fault. */
  readonly guestFailed: (error: unknown) => void;
}

/**
 * VMRUN and #VMEXIT. Without SEV-ES the host sees and sets registers at each exit. With it they live in the VMSA alone:
 * checked and decrypted at entry, and at exit written back, encrypted and recorded before the host sees anything.
 */
export class Cores {
  readonly #options: VmrunOptions;
  readonly #vcpus = new VcpuTable<GuestContext>();
  readonly #snp: SnpCores;

  constructor(options: VmrunOptions) {
    this.#options = options;
    this.#snp = new SnpCores({
      memory: options.processor.memory,
      trusted: () => options.processor.current?.trusted.range,
      platform: options.snp,
      programFor: options.programFor,
      guestFailed: options.guestFailed,
    });
  }

  async enter(control: VirtualMachineControl): Promise<VmExit> {
    const { processor } = this.#options;
    const platform = this.#options.snp();
    const snpGuest = platform?.guestOf(control.asid);
    if (platform !== undefined && snpGuest !== undefined) return this.#snp.enter(platform, snpGuest, control);

    const session = processor.current;
    const guest = session?.asids.owner(control.asid);
    if (session === undefined || guest === undefined) return invalid(`ASID ${control.asid} is not active`);
    if (guest.state !== 'RUNNING')
      return invalid(`the guest is in state ${guest.state}: its ASID is pending until LAUNCH_FINISH`);
    return guest.encryptedState
      ? this.#enterEncrypted(session, guest, control)
      : this.#enterPlain(session, guest, control);
  }

  /** Guests that DEACTIVATE, DECOMMISSION or SHUTDOWN took away stop where they are. */
  removeInactive(): void {
    const asids = this.#options.processor.current?.asids;
    this.#vcpus.removeInactive(
      (guest) => guest.asid !== undefined && asids?.owner(guest.asid) === guest,
      (guest) => guest.memoryKey.isZeroed,
    );
    this.#snp.removeInactive();
  }

  removeAll(): void {
    this.#vcpus.removeAll();
    this.#snp.removeAll();
  }

  async #enterPlain(session: Session, guest: GuestContext, control: VirtualMachineControl): Promise<VmExit> {
    if (control.vmsaAddress !== undefined) return invalid('a guest without SEV-ES has no VMSA');
    const vcpu = this.#vcpu(guest, 'only', true);
    if (vcpu.isRunning) return alreadyRunning;
    const { registers } = vcpu;
    registers.rip = control.saveArea?.rip ?? registers.rip;
    registers.rax = control.saveArea?.rax ?? registers.rax;
    return this.#run(session, guest, vcpu, control);
  }

  async #enterEncrypted(
    session: Session,
    guest: GuestContext,
    control: VirtualMachineControl,
  ): Promise<VmExit> {
    if (control.vmsaAddress === undefined) return invalid('a SEV-ES guest needs a VMSA');
    const { memory } = this.#options.processor;
    const { trusted } = session;
    const range = { address: control.vmsaAddress, length: vmsa.size };
    const usable = range.address % vmsa.size === 0 && isInside(memory, range);
    if (!usable || overlap(trusted.range, range)) return invalid('the VMSA lies nowhere');
    const reverseMap = this.#options.snp()?.reverseMap;
    if (reverseMap?.firstAssigned(range) !== undefined)
      return invalid('the VMSA lies in a page that is not the hypervisor’s');
    const name = `${range.address}`;
    if (this.#vcpus.find(guest, name)?.isRunning === true) return alreadyRunning;

    const page = decryptMemory(guest.memoryKey, range.address, memory.read(range.address, range.length));
    if (!isVmsaIntact(page, trusted)) return invalid('the integrity check of the VMSA failed');
    const vcpu = this.#vcpu(guest, name, startsAtResetVector(page));
    loadRegisters(page, vcpu.registers);
    // The processor writes there at exit: until then it must not become anybody else's.
    reverseMap?.hold(range.address);
    const exit = await this.#run(session, guest, vcpu, control).finally(() =>
      reverseMap?.release(range.address),
    );
    if (guest.memoryKey.isZeroed || this.#options.processor.current !== session) return exit;
    saveRegisters(vcpu.registers, page);
    refreshVmsa(page, trusted);
    memory.write(range.address, encryptMemory(guest.memoryKey, range.address, page));
    page.fill(0);
    return exit;
  }

  #run(session: Session, guest: GuestContext, vcpu: Vcpu, control: VirtualMachineControl): Promise<VmExit> {
    const { memory } = this.#options.processor;
    const { nestedPages, ghcbMsr = 0n } = control;
    const reverseMap = this.#options.snp()?.reverseMap;
    const space = { memory, nestedPages, trusted: session.trusted.range, reverseMap, snp: undefined };
    guest.hasRun = true;
    const entered: EnteredGuest = {
      readPrivate: (address, length) => readGuest(space, guest.memoryKey, address, length),
      writePrivate: (address, bytes) => writeGuest(space, guest.memoryKey, address, bytes),
      readShared: (address, length) => readGuest(space, undefined, address, length),
      writeShared: (address, bytes) => writeGuest(space, undefined, address, bytes),
      ghcbMsr,
      snp: undefined,
    };
    return vcpu.enter(entered);
  }

  /** The boot vCPU runs the guest's program; others wait, halted, as they do until a kernel starts them. */
  #vcpu(guest: GuestContext, name: string, boots: boolean): Vcpu {
    const existing = this.#vcpus.find(guest, name);
    if (existing !== undefined) return existing;
    const { encryptedState } = guest;
    const vcpu = new Vcpu({
      program: boots ? this.#options.programFor(guest) : undefined,
      kind: { encryptedState, snp: false, vmpl: 0 },
      failed: this.#options.guestFailed,
    });
    this.#vcpus.set(guest, name, vcpu);
    return vcpu;
  }
}

const alreadyRunning = invalid('the vCPU is running already');
