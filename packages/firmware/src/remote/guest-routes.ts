import type { FastifyInstance } from 'fastify';
import type { z } from 'zod';
import { GuestFault, type GuestProgram, type GuestRegisters, type GuestView } from '../guest-view.js';
import { octets } from './host-routes.js';
import * as messages from './messages.js';

/** A vCPU whose program runs in another process. */
interface RemoteVcpu {
  readonly id: number;
  readonly view: GuestView;
  readonly end: () => void;
  readonly fail: (reason: Error) => void;
}

/** A guest's process: it asks for vCPUs to run, and takes them down with it when its connection ends. */
interface Attachment {
  readonly vcpus: Set<RemoteVcpu>;
  ask: ((vcpu: RemoteVcpu) => void) | undefined;
}

/**
 * Serves the inside of guests to the process that runs their programs. Returns the program to insert into the machine:
 * it waits for such a process, and hands the vCPU over to it.
 */
export function addGuestRoutes(app: FastifyInstance): GuestProgram {
  const vcpus = new Map<number, RemoteVcpu>();
  const attachments = new Map<number, Attachment>();
  const waiting: RemoteVcpu[] = [];
  let last = 0;

  function handOut(): void {
    for (const attachment of attachments.values()) {
      if (attachment.ask === undefined) continue;
      const vcpu = waiting.shift();
      if (vcpu === undefined) return;
      attachment.vcpus.add(vcpu);
      attachment.ask(vcpu);
      attachment.ask = undefined;
    }
  }

  app.post('/attachments', async (request, reply) => {
    const id = ++last;
    const own: Attachment = { vcpus: new Set(), ask: undefined };
    attachments.set(id, own);
    reply.hijack();
    reply.raw.writeHead(200, { 'content-type': 'application/json' });
    reply.raw.write(`${JSON.stringify({ attachment: id } satisfies z.input<typeof messages.attachment>)}\n`);
    request.raw.socket.on('close', () => {
      attachments.delete(id);
      for (const vcpu of own.vcpus) vcpu.fail(new Error("the guest's process went away"));
    });
  });

  app.post('/attachments/:id/next', async (request): Promise<z.input<typeof messages.startedVcpu>> => {
    const own = attachments.get(idOf(request.params));
    if (own === undefined) throw new GuestFault('machine-gone', 'this process is not attached');
    const vcpu = await new Promise<RemoteVcpu>((ask) => {
      own.ask = ask;
      handOut();
    });
    const { encryptedState, registers } = vcpu.view;
    return messages.startedVcpu.encode({ vcpu: vcpu.id, encryptedState, registers });
  });

  app.get('/vcpus/:id/memory', async (request, reply) => {
    const { address, length, encrypted } = messages.memoryRange
      .extend(messages.encryption.shape)
      .parse(request.query);
    const { view } = vcpuOf(request.params);
    const bytes = await (encrypted === 'yes'
      ? view.readPrivate(address, length)
      : view.readShared(address, length));
    return reply.type('application/octet-stream').send(Buffer.from(bytes));
  });
  app.put('/vcpus/:id/memory', async (request, reply) => {
    const { address, encrypted } = messages.memoryPlace
      .extend(messages.encryption.shape)
      .parse(request.query);
    const { view } = vcpuOf(request.params);
    const bytes = octets(request.body);
    await (encrypted === 'yes' ? view.writePrivate(address, bytes) : view.writeShared(address, bytes));
    return reply.code(204).send();
  });
  app.post('/vcpus/:id/leave', async (request) => {
    const vcpu = vcpuOf(request.params);
    const { registers, exit } = messages.guestLeaves.parse(request.body);
    Object.assign(vcpu.view.registers, registers satisfies GuestRegisters);
    await leave(vcpu, exit);
    return messages.guestReturns.encode({ registers: vcpu.view.registers });
  });

  function vcpuOf(parameters: unknown): RemoteVcpu {
    const vcpu = vcpus.get(idOf(parameters));
    if (vcpu === undefined) throw new GuestFault('machine-gone', 'there is no such vCPU');
    return vcpu;
  }

  return async (view) => {
    const id = ++last;
    try {
      await new Promise<void>((end, fail) => {
        const vcpu: RemoteVcpu = { id, view, end, fail };
        vcpus.set(id, vcpu);
        waiting.push(vcpu);
        handOut();
      });
    } finally {
      vcpus.delete(id);
    }
  };
}

async function leave(vcpu: RemoteVcpu, exit: z.output<typeof messages.guestLeaves>['exit']): Promise<void> {
  switch (exit.kind) {
    case 'vmgexit':
      return vcpu.view.vmgexit(exit.ghcbGuestAddress);
    case 'out':
      return vcpu.view.out(exit.port, exit.value);
    case 'halt':
      return vcpu.view.halt();
    case 'shutdown':
      void vcpu.view.shutdown().catch(vcpu.fail);
      return;
    case 'returned':
      return vcpu.end();
    case 'failed':
      return vcpu.fail(new Error("the guest's program failed in its own process"));
  }
}

function idOf(parameters: unknown): number {
  return Number((parameters as { readonly id?: string }).id);
}
