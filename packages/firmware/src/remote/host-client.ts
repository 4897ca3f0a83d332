import type { HostMachine } from '../mailbox.js';
import * as messages from './messages.js';
import { createSocketClient } from './socket-client.js';

/** A machine in another process, as its host sees it. */
export interface RemoteHostMachine extends HostMachine {
  close(): void;
}

/** @throws UnavailableError when nothing answers at this socket */
export async function connectHost(socketPath: string): Promise<RemoteHostMachine> {
  const client = createSocketClient(socketPath);
  const { capabilities, memorySize } = await client.json('/describe', undefined, messages.machineDescription);
  return {
    capabilities,
    memory: {
      size: memorySize,
      read: (address, length) => client.read(`/memory?address=${address}&length=${length}`),
      write: (address, bytes) => client.write(`/memory?address=${address}`, bytes),
    },
    reverseMap: {
      async update(address, request) {
        const call = { schema: messages.rmpUpdateCall, value: { address, request } };
        return (await client.json('/reverse-map/update', call, messages.rmpReply)).status;
      },
      async smash(address) {
        const call = { schema: messages.rmpCall, value: { address } };
        return (await client.json('/reverse-map/smash', call, messages.rmpReply)).status;
      },
      read: (address) =>
        client.json('/reverse-map/read', { schema: messages.rmpCall, value: { address } }, messages.rmpEntry),
    },
    async submit(commandId, bufferAddress) {
      const call = { schema: messages.mailboxCall, value: { commandId, bufferAddress } };
      return (await client.json('/commands', call, messages.mailboxReply)).status;
    },
    async writeBackAndInvalidate() {
      await client.json('/write-back', undefined, messages.nothing);
    },
    enter: (control) =>
      client.json('/entries', { schema: messages.control, value: control }, messages.vmExit),
    close: () => client.close(),
  };
}
