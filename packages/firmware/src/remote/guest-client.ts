import { once } from 'node:events';
import { Agent, type IncomingMessage, request } from 'node:http';
import { UnavailableError } from '@vouchsafe/sev';
import type { z } from 'zod';
import { GuestFault, type GuestProgram, type GuestRegisters, type GuestView } from '../guest-view.js';
import * as messages from './messages.js';
import { createSocketClient, type SocketClient } from './socket-client.js';

/** A process that runs the insides of guests. */
export interface AttachedGuest {
  /** Resolves when the machine is gone or `close` was called. Programs that fail are told to `failed`. */
  readonly ended: Promise<void>;
  close(): void;
}

/**
 * Runs `program` in this process for every boot vCPU that the machine enters for the first time. When this process
 * ends, its guests shut down.
 * @throws UnavailableError when nothing answers at this socket
 */
export async function connectGuest(
  socketPath: string,
  program: GuestProgram,
  failed: (error: unknown) => void = () => undefined,
): Promise<AttachedGuest> {
  const connection = await attach(socketPath);
  const client = createSocketClient(socketPath);
  const close = () => {
    client.close();
    connection.close();
  };
  const ended = serveVcpus(client, connection.attachment, program, failed).finally(close);
  return { ended, close };
}

async function serveVcpus(
  client: SocketClient,
  attachment: number,
  program: GuestProgram,
  failed: (error: unknown) => void,
): Promise<void> {
  const programs = new Map<number, GuestProgram>();
  for (;;) {
    const path = `/attachments/${attachment}/next`;
    const next = await client.json(path, undefined, messages.startedVcpu).catch((error: unknown) => {
      if (error instanceof UnavailableError || error instanceof GuestFault) return undefined;
      throw error;
    });
    if (next === undefined) return;
    const vcpu = remoteVcpu(client, next, programs);
    vcpu.run(programOf(next)).catch(failed);
  }

  function programOf({ placement }: z.output<typeof messages.startedVcpu>): GuestProgram {
    return (placement === undefined ? undefined : programs.get(placement)) ?? program;
  }
}

/** `programs` are those that vCPUs of this process have placed, by the names that the machine calls them back with. */
function remoteVcpu(
  client: SocketClient,
  started: z.output<typeof messages.startedVcpu>,
  programs: Map<number, GuestProgram>,
) {
  const registers: GuestRegisters = started.registers;
  const place = `/vcpus/${started.vcpu}`;
  const memory = (address: number, encrypted: 'yes' | 'no') =>
    `${place}/memory?address=${address}&encrypted=${encrypted}`;

  async function leave(exit: z.output<typeof messages.guestLeaves>['exit']) {
    const call = { schema: messages.guestLeaves, value: { registers, exit } };
    const back = await client.json(`${place}/leave`, call, messages.guestReturns);
    Object.assign(registers, back.registers);
    return back;
  }

  const view: GuestView = {
    encryptedState: started.encryptedState,
    snp: started.snp,
    vmpl: started.vmpl,
    registers,
    readPrivate: (address, length) => client.read(`${memory(address, 'yes')}&length=${length}`),
    writePrivate: (address, bytes) => client.write(memory(address, 'yes'), bytes),
    readShared: (address, length) => client.read(`${memory(address, 'no')}&length=${length}`),
    writeShared: (address, bytes) => client.write(memory(address, 'no'), bytes),
    async vmgexit(ghcbGuestAddress) {
      await leave({ kind: 'vmgexit', ghcbGuestAddress });
    },
    async msrProtocol(request) {
      return (await leave({ kind: 'msr-protocol', request })).ghcbMsr ?? 0n;
    },
    pvalidate: (address, operands) =>
      client.json(
        `${place}/pvalidate`,
        { schema: messages.pvalidateCall, value: { address, ...operands } },
        messages.pvalidateReply,
      ),
    async rmpadjust(address, operands) {
      const call = { schema: messages.rmpadjustCall, value: { address, ...operands } };
      return (await client.json(`${place}/rmpadjust`, call, messages.rmpReply)).status;
    },
    async place(program, address) {
      const placement = programs.size;
      programs.set(placement, program);
      const call = { schema: messages.placeCall, value: { address, placement } };
      await client.json(`${place}/place`, call, messages.nothing);
    },
    async out(port, value) {
      await leave({ kind: 'out', port, value });
    },
    async halt() {
      await leave({ kind: 'halt' });
    },
    async shutdown() {
      await leave({ kind: 'shutdown' });
      return new Promise<never>(() => undefined);
    },
  };

  return {
    async run(program: GuestProgram): Promise<void> {
      try {
        await program(view);
      } catch (error) {
        await leave({ kind: 'failed' }).catch(() => undefined);
        throw error;
      }
      await leave({ kind: 'returned' });
    },
  };
}

/** The request that stays open for as long as this process is there: its end tells the machine. */
async function attach(socketPath: string): Promise<{ readonly attachment: number; close(): void }> {
  const agent = new Agent();
  const sent = request({ agent, socketPath, method: 'POST', path: '/attachments' });
  sent.end();
  const [response] = (await once(sent, 'response').catch((cause: unknown) => {
    throw new UnavailableError(socketPath, `the machine does not answer: ${String(cause)}`, { cause });
  })) as [IncomingMessage];
  const [first] = (await once(response, 'data')) as [Uint8Array];
  const { attachment } = messages.attachment.parse(JSON.parse(new TextDecoder().decode(first)));
  response.on('error', () => undefined);
  sent.on('error', () => undefined);
  return { attachment, close: () => sent.destroy() };
}
