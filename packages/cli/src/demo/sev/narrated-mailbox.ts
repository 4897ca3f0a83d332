import type { HostMachine } from '@vouchsafe/firmware';
import {
  launchSecretBuffer,
  launchStartBuffer,
  launchUpdateDataBuffer,
  type SevCommandName,
  sevCommands,
} from '@vouchsafe/sev';
import type { Narrator } from '../narration.js';

const names = new Map(
  Object.entries(sevCommands).map(([name, id]) => [id as number, name as SevCommandName]),
);

/** Tells of each guest command on its way through the mailbox, and of what the processor makes of guest memory. */
export function narratedMailbox(machine: HostMachine, narrate: Narrator): HostMachine {
  const read = (address: number | bigint, length: number) => machine.memory.read(Number(address), length);

  async function tellCommand(command: SevCommandName | undefined, bufferAddress: number): Promise<void> {
    switch (command) {
      case 'LAUNCH_START': {
        const { sessionAddress, sessionLength } = await parsed(launchStartBuffer, bufferAddress);
        const session = await read(sessionAddress, sessionLength);
        return narrate.message(
          'host',
          'processor',
          'LAUNCH_START with the session',
          session,
          'owner and processor (the wrapped keys)',
        );
      }
      case 'LAUNCH_UPDATE_DATA':
      case 'LAUNCH_UPDATE_VMSA': {
        const { address, length } = await parsed(launchUpdateDataBuffer, bufferAddress);
        const what = command === 'LAUNCH_UPDATE_VMSA' ? 'first register state of a vCPU' : pieceOf(length);
        return narrate.message('host', 'processor', `${command}: ${what}`, await read(address, length));
      }
      case 'LAUNCH_SECRET': {
        const { transportAddress, transportLength } = await parsed(launchSecretBuffer, bufferAddress);
        const payload = await read(transportAddress, transportLength);
        return narrate.message(
          'host',
          'processor',
          'LAUNCH_SECRET with the packet',
          payload,
          'owner and processor',
        );
      }
      case 'LAUNCH_MEASURE':
        return narrate.step('host', 'LAUNCH_MEASURE: nothing more can be loaded');
      case 'LAUNCH_FINISH':
        return narrate.step('processor', 'LAUNCH_FINISH: forgets the transport keys');
      default:
        return undefined;
    }
  }

  async function tellResult(command: SevCommandName | undefined, bufferAddress: number): Promise<void> {
    if (command === 'ACTIVATE') {
      await narrate.step('host', 'ACTIVATE: gives the guest an address space id, which names its memory key');
    }
    if (command !== 'LAUNCH_SECRET') return;
    const { guestAddress, guestLength } = await parsed(launchSecretBuffer, bufferAddress);
    await narrate.message(
      'processor',
      'guest',
      'the secret table, encrypted with the guest’s memory key',
      await read(guestAddress, guestLength),
      'the guest alone',
    );
  }

  async function parsed<T>(
    layout: { readonly size: number; parse(bytes: Uint8Array): T },
    address: number,
  ): Promise<T> {
    return layout.parse(await read(address, layout.size));
  }

  return {
    capabilities: machine.capabilities,
    memory: machine.memory,
    async submit(commandId, bufferAddress) {
      const command = names.get(commandId);
      await tellCommand(command, bufferAddress);
      const status = await machine.submit(commandId, bufferAddress);
      if (status === 0) await tellResult(command, bufferAddress);
      return status;
    },
    reverseMap: machine.reverseMap,
    writeBackAndInvalidate: () => machine.writeBackAndInvalidate(),
    enter: (control) => machine.enter(control),
  };
}

/** QEMU's hashes table is 176 bytes; the firmware image is pages. */
const pieceOf = (length: number) =>
  length === 176 ? 'hashes of kernel, initrd and command line' : 'the firmware image';
