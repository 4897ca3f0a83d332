import type { GuestView } from '@vouchsafe/firmware/guest-view';
import {
  type BootItem,
  type BootOperation,
  bootDeviceExitInformation,
  bootDevicePort,
  bootRequest,
  ioioExitInformation,
} from '@vouchsafe/protocol';
import { ghcb, ghcbExitCodes, isGhcbRegisterValid } from '@vouchsafe/sev';
import { buildGuestFirmware } from '../firmware/image.js';

export type Items = Partial<Record<BootItem, Uint8Array>>;

/** Thrown where a real vCPU would never come back. */
export class Stopped extends Error {
  readonly how: 'shutdown' | 'halt';

  constructor(how: 'shutdown' | 'halt') {
    super(how);
    this.how = how;
  }
}

export interface FakeMachineOptions {
  readonly encryptedState?: boolean;
  readonly items?: Items;
  /** 192 KiB at most, which is the default. */
  readonly memorySize?: number;
  readonly firmware?: Uint8Array;
  /** Changes the device's answer, or what it puts into shared memory: the hostile host. */
  readonly tamper?: (request: { operation: BootOperation; item: BootItem }, machine: FakeMachine) => void;
}

/** Memory that nobody has written reads as noise through the guest's key. */
const noise = Uint8Array.from({ length: 0x3_0000 }, (_, i) => (i * 167 + 13) & 0xff);

/** Guest memory as two plain buffers, private and shared, with the host's device behind the exits. */
export class FakeMachine {
  readonly #options: FakeMachineOptions;
  readonly #memorySize: number;
  readonly #private: Uint8Array;
  readonly #firmware: Uint8Array;
  readonly shared: Uint8Array;
  readonly console: string[] = [];
  /** Where the last request is, for a host that tampers with its answer. */
  requestAddress = 0;
  booted = false;

  constructor(options: FakeMachineOptions = {}) {
    this.#options = options;
    this.#memorySize = options.memorySize ?? noise.length;
    this.#private = noise.slice(0, this.#memorySize);
    this.shared = new Uint8Array(this.#memorySize);
    this.#firmware = (options.firmware ?? buildGuestFirmware()).slice();
  }

  /** Private memory as the guest sees it, by guest address. */
  memory(address: number, length: number): Uint8Array {
    const firmwareBase = 0x1_0000_0000 - this.#firmware.length;
    const [bytes, at] =
      address >= firmwareBase ? [this.#firmware, address - firmwareBase] : [this.#private, address];
    if (at + length > bytes.length) throw new RangeError(`no memory at 0x${address.toString(16)}`);
    return bytes.subarray(at, at + length);
  }

  get view(): GuestView {
    const machine = this;
    return {
      encryptedState: this.#options.encryptedState ?? false,
      snp: false,
      vmpl: 0,
      registers: { rip: 0xfff0, rsp: 0n, rax: 0n, rbx: 0n, rcx: 0n, rdx: 0n },
      readPrivate: async (address, length) => machine.memory(address, length).slice(),
      writePrivate: async (address, bytes) => machine.memory(address, bytes.length).set(bytes),
      readShared: async (address, length) => machine.shared.slice(address, address + length),
      writeShared: async (address, bytes) => machine.shared.set(bytes, address),
      async vmgexit(address) {
        const block = ghcb.parseAt(machine.shared, address);
        const valid = (['rax', 'exitCode', 'exitInfo1', 'exitInfo2'] as const).every((name) =>
          isGhcbRegisterValid(block, name),
        );
        const { port } = ioioExitInformation.parse(block.exitInfo1);
        if (
          !valid ||
          block.exitCode !== ghcbExitCodes.IOIO ||
          block.exitInfo1 !== bootDeviceExitInformation
        ) {
          throw new Error('not an OUT to the boot device');
        }
        machine.#exit(port, Number(block.rax));
        machine.shared.set(ghcb.build({ ...block, exitInfo1: 0n, exitInfo2: 0n }), address);
      },
      async out(port, value) {
        machine.#exit(port, value);
      },
      msrProtocol: notInThisGuest,
      pvalidate: notInThisGuest,
      rmpadjust: notInThisGuest,
      place: notInThisGuest,
      halt: () => Promise.reject(new Stopped('halt')),
      shutdown: () => Promise.reject(new Stopped('shutdown')),
    };
  }

  #exit(port: number, address: number): void {
    if (port !== bootDevicePort) throw new Error(`no device at port ${port}`);
    this.requestAddress = address;
    const request = bootRequest.parseAt(this.shared, address);
    const answer = this.#answer(request);
    this.shared.set(bootRequest.build({ ...request, ...answer }), address);
    this.#options.tamper?.(request, this);
  }

  #answer(request: ReturnType<typeof bootRequest.parse>): { status: 'OK' | 'NO_SUCH_ITEM'; result: number } {
    const at = Number(request.address);
    if (request.operation === 'DONE') this.booted = true;
    if (request.operation === 'PRINT') {
      this.console.push(new TextDecoder().decode(this.shared.subarray(at, at + request.length)));
    }
    if (request.operation === 'DONE' || request.operation === 'PRINT') return { status: 'OK', result: 0 };
    if (request.item === 'MEMORY') return { status: 'OK', result: this.#memorySize };
    const item = this.#options.items?.[request.item];
    if (item === undefined) return { status: 'NO_SUCH_ITEM', result: 0 };
    if (request.operation === 'SIZE') return { status: 'OK', result: item.length };
    this.shared.set(item.subarray(request.offset, request.offset + request.length), at);
    return { status: 'OK', result: request.length };
  }
}

/** What only guests of SEV-SNP do. */
const notInThisGuest = () => Promise.reject(new Error('no guest of SEV-SNP'));

/** Runs until the vCPU stops, and says how it stopped. */
export async function runToEnd(
  program: (view: GuestView) => Promise<void>,
  machine: FakeMachine,
): Promise<'shutdown' | 'halt'> {
  try {
    await program(machine.view);
  } catch (error) {
    if (error instanceof Stopped) return error.how;
    throw error;
  }
  throw new Error('the program ended without stopping its CPU');
}
