import type { HostMachine, VirtualMachineControl, VmExit } from '@vouchsafe/firmware';
import { type SevCommandName, type SnpCommandName, sevCommands, snpCommands } from '@vouchsafe/sev';

/** What a hostile host does to the machine besides what an honest one would. What is left out, it does honestly. */
export interface Interference {
  /** Changes what is written to physical memory. */
  write?(address: number, bytes: Uint8Array): Uint8Array;
  /** Changes what the host takes itself to have read from physical memory. */
  read?(address: number, bytes: Uint8Array): Uint8Array;
  /** Called before a command reaches the mailbox. */
  before?(command: SevCommandName | SnpCommandName | undefined, bufferAddress: number): Promise<void>;
  /** Puts a command into the mailbox, or does something else. @returns the status that the host goes on with */
  submit?(
    command: SevCommandName | SnpCommandName | undefined,
    bufferAddress: number,
    honestly: () => Promise<number>,
  ): Promise<number>;
  /** Changes what a vCPU is entered with. */
  entry?(control: VirtualMachineControl): VirtualMachineControl;
  /** Sees why a vCPU came back, and says what the host goes on with. */
  exit?(exit: VmExit): VmExit;
}

const names = new Map(
  Object.entries({ ...sevCommands, ...snpCommands }).map(([name, id]) => [
    id as number,
    name as SevCommandName | SnpCommandName,
  ]),
);

/** The same machine, driven by a host that interferes. What it does may change while it runs. */
export function interferingHost(host: HostMachine, interference: Interference): HostMachine {
  return {
    capabilities: host.capabilities,
    memory: {
      size: host.memory.size,
      async read(address, length) {
        const bytes = await host.memory.read(address, length);
        return interference.read?.(address, bytes) ?? bytes;
      },
      write: (address, bytes) => host.memory.write(address, interference.write?.(address, bytes) ?? bytes),
    },
    async submit(commandId, bufferAddress) {
      const command = names.get(commandId);
      await interference.before?.(command, bufferAddress);
      const honestly = () => host.submit(commandId, bufferAddress);
      return interference.submit?.(command, bufferAddress, honestly) ?? honestly();
    },
    reverseMap: host.reverseMap,
    writeBackAndInvalidate: () => host.writeBackAndInvalidate(),
    async enter(control) {
      const exit = await host.enter(interference.entry?.(control) ?? control);
      return interference.exit?.(exit) ?? exit;
    },
  };
}

/** A copy with one bit turned over. */
export function flipped(bytes: Uint8Array, at = 0): Uint8Array {
  const copy = bytes.slice();
  copy[at] = copy[at]! ^ 1;
  return copy;
}
