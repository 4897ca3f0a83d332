import { type Generation, InvalidArgumentError, type RandomSource, UnavailableError } from '@vouchsafe/sev';
import { Cores } from './cpu/vmrun.js';
import type { GuestProgram } from './guest-view.js';
import type { Chip } from './identity/chip.js';
import { HostFault, type HostMachine, type HostMemory, type HostReverseMap } from './mailbox.js';
import { createDram, isInside, overlap, type PhysicalMemory } from './memory/dram.js';
import { Processor } from './processor/processor.js';
import { type MachineProfile, machineProfiles, type SnpProfile } from './profiles.js';

export interface SoftwareMachineOptions {
  readonly chip: Chip;
  /** Draws keys, nonces and initial counters; nothing else is random. */
  readonly random: RandomSource;
  /** Bytes of memory, or a memory of the caller's. Default 256 MiB. */
  readonly memory?: number | PhysicalMemory;
  /** Firmware version and CPUID answers; default: those of the chip's generation. */
  readonly profile?: Partial<Omit<MachineProfile, 'generation' | 'snp'>> & {
    readonly snp?: Partial<SnpProfile>;
  };
  /** Told what a guest's program threw; to the host such a guest has shut down. */
  readonly guestFailed?: (error: unknown) => void;
}

/** A machine with memory encryption: its processor and memory as the host sees them, and what runs in its guests. */
export interface SoftwareMachine {
  readonly host: HostMachine;
  /**
   * Says what runs when a boot vCPU is entered for the first time: in the guest that owns this ASID at that moment, or,
   * without an ASID, in every guest that no other program was inserted for. A guest without a program halts.
   */
  insertGuest(program: GuestProgram, asid?: number): void;
  /** Switches the machine off: guests stop and keys are wiped. The chip and its flash remain. */
  close(): Promise<void>;
}

export function createSoftwareMachine(options: SoftwareMachineOptions): SoftwareMachine {
  const { chip, random, guestFailed = () => undefined } = options;
  const memory =
    typeof options.memory === 'object' ? options.memory : createDram(options.memory ?? 256 * 1024 * 1024);
  const profile = profileOf(chip.generation, options.profile);
  const processor = new Processor({ profile, chip, random, memory });
  const programs = new Map<number | undefined, GuestProgram>();
  const programFor = (guest: { readonly asid: number | undefined }) =>
    programs.get(guest.asid) ?? programs.get(undefined);
  const cores = new Cores({ processor, snp: () => processor.snp, programFor, guestFailed });

  const host: HostMachine = {
    capabilities: profile.capabilities,
    memory: hostMemory(memory, processor),
    reverseMap: hostReverseMap(processor),
    async submit(commandId, bufferAddress) {
      const status = await processor.submit(commandId, bufferAddress);
      cores.removeInactive();
      return status;
    },
    async writeBackAndInvalidate() {
      processor.caches.writtenBack();
    },
    enter: (control) => cores.enter(control),
  };
  return {
    host,
    insertGuest(program, asid) {
      programs.set(asid, program);
    },
    async close() {
      await processor.idle();
      cores.removeAll();
      processor.powerOff();
    },
  };
}

/** @throws InvalidArgumentError for SEV-SNP on a generation without it */
function profileOf(generation: Generation, changes: SoftwareMachineOptions['profile'] = {}): MachineProfile {
  const { snp: snpChanges, ...others } = changes;
  const standard = machineProfiles[generation];
  if (snpChanges === undefined) return { ...standard, ...others };
  if (standard.snp === undefined) throw new InvalidArgumentError('profile', `${generation} has no SEV-SNP`);
  return { ...standard, ...others, snp: { ...standard.snp, ...snpChanges } };
}

/** All of memory but the trusted memory region, with ciphertext where it is ciphertext. */
function hostMemory(memory: PhysicalMemory, processor: Processor): HostMemory {
  const requireReachable = (address: number, length: number) => {
    const range = { address, length };
    if (!isInside(memory, range)) throw new InvalidArgumentError('address', 'lies beyond the end of memory');
    if (overlap(processor.current?.trusted.range, range)) {
      throw new InvalidArgumentError(
        'address',
        'lies in the trusted memory region, which the host gave away at INIT',
      );
    }
  };
  return {
    size: memory.size,
    async read(address, length) {
      requireReachable(address, length);
      return memory.read(address, length);
    },
    async write(address, bytes) {
      const range = { address, length: bytes.length };
      requireReachable(address, bytes.length);
      const assigned = processor.snp?.reverseMap.firstAssigned(range);
      if (assigned !== undefined) throw new HostFault(assigned);
      memory.write(address, bytes);
    },
  };
}

function hostReverseMap(processor: Processor): HostReverseMap {
  const present = () => {
    const { snp } = processor;
    if (snp !== undefined) return snp.reverseMap;
    throw new UnavailableError('reverse map table', 'there is none yet', { hint: 'SNP_INIT makes it' });
  };
  return {
    update: async (address, request) => present().update(address, request),
    smash: async (address) => present().smash(address),
    read: async (address) => present().read(address),
  };
}
