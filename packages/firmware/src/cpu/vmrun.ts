import { vmsa } from '@vouchsafe/sev';
import type { GuestProgram, GuestRegisters } from '../guest-view.js';
import type { VirtualMachineControl, VmExit } from '../mailbox.js';
import { isInside, overlap } from '../memory/dram.js';
import { decryptMemory, encryptMemory } from '../memory/encryption.js';
import { isVmsaIntact, refreshVmsa, setWord, wordAt } from '../memory/vmsa-integrity.js';
import type { GuestContext } from '../processor/guest-contexts.js';
import type { Processor } from '../processor/processor.js';
import { readGuest, writeGuest } from './guest-memory.js';
import { type EnteredGuest, Vcpu } from './vcpu.js';

/** Where every x86 CPU begins: the last 16 bytes below 4 GiB. */
const resetVector = 0xffff_fff0;

export interface VmrunOptions {
  readonly processor: Processor;
  /** The code that the guest's memory holds, as far as this machine is concerned. */
  programFor(guest: GuestContext): GuestProgram | undefined;
  /** Told what a guest's program threw; the guest itself ends with a triple fault. */
  readonly guestFailed: (error: unknown) => void;
}

/**
 * VMRUN and #VMEXIT. Without SEV-ES the host sees and sets registers at each exit. With it they live in the VMSA alone:
 * checked and decrypted at entry, and at exit written back, encrypted and recorded before the host sees anything.
 */
export class Cores {
  readonly #options: VmrunOptions;
  readonly #vcpus = new Map<GuestContext, Map<number | 'only', Vcpu>>();

  constructor(options: VmrunOptions) {
    this.#options = options;
  }

  async enter(control: VirtualMachineControl): Promise<VmExit> {
    const guest = this.#admit(control);
    if (typeof guest === 'string') return { reason: 'invalid', detail: guest };
    return guest.encryptedState ? this.#enterEncrypted(guest, control) : this.#enterPlain(guest, control);
  }

  /** Guests that DEACTIVATE, DECOMMISSION or SHUTDOWN took away stop where they are. */
  removeInactive(): void {
    for (const [guest, vcpus] of this.#vcpus) {
      const owner =
        guest.asid === undefined ? undefined : this.#options.processor.current?.asids.owner(guest.asid);
      if (owner === guest) continue;
      for (const vcpu of vcpus.values()) {
        if (vcpu.isRunning || guest.memoryKey.isZeroed) vcpu.remove('the guest was taken away while it ran');
      }
      if (guest.memoryKey.isZeroed) this.#vcpus.delete(guest);
    }
  }

  removeAll(): void {
    for (const vcpus of this.#vcpus.values()) {
      for (const vcpu of vcpus.values()) vcpu.remove('the machine was switched off');
    }
    this.#vcpus.clear();
  }

  #admit(control: VirtualMachineControl): GuestContext | string {
    const guest = this.#options.processor.current?.asids.owner(control.asid);
    if (guest === undefined) return `ASID ${control.asid} is not active`;
    if (guest.state !== 'RUNNING')
      return `the guest is in state ${guest.state}: its ASID is pending until LAUNCH_FINISH`;
    if (guest.encryptedState && control.vmsaAddress === undefined) return 'a SEV-ES guest needs a VMSA';
    if (!guest.encryptedState && control.vmsaAddress !== undefined)
      return 'a guest without SEV-ES has no VMSA';
    return guest;
  }

  async #enterPlain(guest: GuestContext, control: VirtualMachineControl): Promise<VmExit> {
    const vcpu = this.#vcpu(guest, 'only', true);
    if (vcpu.isRunning) return alreadyRunning;
    const { registers } = vcpu;
    registers.rip = control.saveArea?.rip ?? registers.rip;
    registers.rax = control.saveArea?.rax ?? registers.rax;
    return this.#run(guest, vcpu, control);
  }

  async #enterEncrypted(guest: GuestContext, control: VirtualMachineControl): Promise<VmExit> {
    const { memory, session } = this.#options.processor;
    const { trusted } = session;
    const range = { address: control.vmsaAddress ?? 0, length: vmsa.size };
    const usable = range.address % vmsa.size === 0 && isInside(memory, range);
    if (!usable || overlap(trusted.range, range)) return invalid('the VMSA lies nowhere');
    if (this.#vcpus.get(guest)?.get(range.address)?.isRunning === true) return alreadyRunning;

    const page = decryptMemory(guest.memoryKey, range.address, memory.read(range.address, range.length));
    if (!isVmsaIntact(page, trusted)) return invalid('the integrity check of the VMSA failed');
    const vcpu = this.#vcpu(guest, range.address, startsAtResetVector(page));
    loadRegisters(page, vcpu.registers);
    const exit = await this.#run(guest, vcpu, control);
    if (guest.memoryKey.isZeroed || this.#options.processor.current !== session) return exit;
    saveRegisters(vcpu.registers, page);
    refreshVmsa(page, trusted);
    memory.write(range.address, encryptMemory(guest.memoryKey, range.address, page));
    page.fill(0);
    return exit;
  }

  #run(guest: GuestContext, vcpu: Vcpu, control: VirtualMachineControl): Promise<VmExit> {
    const { memory, session } = this.#options.processor;
    const space = { memory, nestedPages: control.nestedPages, trusted: session.trusted.range };
    guest.hasRun = true;
    const entered: EnteredGuest = {
      readPrivate: (address, length) => readGuest(space, guest.memoryKey, address, length),
      writePrivate: (address, bytes) => writeGuest(space, guest.memoryKey, address, bytes),
      readShared: (address, length) => readGuest(space, undefined, address, length),
      writeShared: (address, bytes) => writeGuest(space, undefined, address, bytes),
    };
    return vcpu.enter(entered);
  }

  /** The boot vCPU runs the guest's program; others wait, halted, as they do until a kernel starts them. */
  #vcpu(guest: GuestContext, place: number | 'only', boots: boolean): Vcpu {
    const vcpus = this.#vcpus.get(guest) ?? new Map<number | 'only', Vcpu>();
    this.#vcpus.set(guest, vcpus);
    const existing = vcpus.get(place);
    if (existing !== undefined) return existing;
    const vcpu = new Vcpu({
      program: boots ? this.#options.programFor(guest) : undefined,
      encryptedState: guest.encryptedState,
      failed: this.#options.guestFailed,
    });
    vcpus.set(place, vcpu);
    return vcpu;
  }
}

const invalid = (detail: string): VmExit => ({ reason: 'invalid', detail });
const alreadyRunning = invalid('the vCPU is running already');

function startsAtResetVector(page: Uint8Array): boolean {
  const { cs, rip } = vmsa.parse(page);
  return cs.base + rip === BigInt(resetVector);
}

function loadRegisters(page: Uint8Array, registers: GuestRegisters): void {
  registers.rip = Number(wordAt(page, 'rip'));
  for (const name of wideRegisters) registers[name] = wordAt(page, name);
}

function saveRegisters(registers: GuestRegisters, page: Uint8Array): void {
  setWord(page, 'rip', BigInt(registers.rip));
  for (const name of wideRegisters) setWord(page, name, registers[name]);
}

const wideRegisters = ['rsp', 'rax', 'rbx', 'rcx', 'rdx'] as const;
