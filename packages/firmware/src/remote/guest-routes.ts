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
  /** The process that runs it: from the start the one that placed its program, else the first that asks. */
  attachment: Attachment | undefined;
  /** What that process calls the program that it placed. */
  readonly placement: number | undefined;
}

/** A guest's process: it asks for vCPUs to run, and takes them down with it when its connection ends. */
interface Attachment {
  readonly vcpus: Set<RemoteVcpu>;
  ask: ((vcpu: RemoteVcpu) => void) | undefined;
  isGone: boolean;
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
      const next = waiting.findIndex((each) => (each.attachment ?? attachment) === attachment);
      const [vcpu] = next === -1 ? [] : waiting.splice(next, 1);
      if (vcpu === undefined) continue;
      vcpu.attachment = attachment;
      attachment.vcpus.add(vcpu);
      attachment.ask(vcpu);
      attachment.ask = undefined;
    }
  }

  app.post('/attachments', async (request, reply) => {
    const id = ++last;
    const own: Attachment = { vcpus: new Set(), ask: undefined, isGone: false };
    attachments.set(id, own);
    reply.hijack();
    reply.raw.writeHead(200, { 'content-type': 'application/json' });
    reply.raw.write(`${JSON.stringify({ attachment: id } satisfies z.input<typeof messages.attachment>)}\n`);
    request.raw.socket.on('close', () => {
      attachments.delete(id);
      own.isGone = true;
      for (const vcpu of own.vcpus) vcpu.fail(processGone());
    });
  });

  app.post('/attachments/:id/next', async (request): Promise<z.input<typeof messages.startedVcpu>> => {
    const own = attachments.get(idOf(request.params));
    if (own === undefined) throw new GuestFault('machine-gone', 'this process is not attached');
    const vcpu = await new Promise<RemoteVcpu>((ask) => {
      own.ask = ask;
      handOut();
    });
    const { encryptedState, snp, vmpl, registers } = vcpu.view;
    const placed = vcpu.placement === undefined ? {} : { placement: vcpu.placement };
    return messages.startedVcpu.encode({ vcpu: vcpu.id, encryptedState, snp, vmpl, registers, ...placed });
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
    const ghcbMsr = await leave(vcpu, exit);
    const answer = ghcbMsr === undefined ? {} : { ghcbMsr };
    return messages.guestReturns.encode({ registers: vcpu.view.registers, ...answer });
  });
  app.post('/vcpus/:id/pvalidate', async (request): Promise<z.input<typeof messages.pvalidateReply>> => {
    const { address, ...operands } = messages.pvalidateCall.parse(request.body);
    return vcpuOf(request.params).view.pvalidate(address, operands);
  });
  app.post('/vcpus/:id/rmpadjust', async (request): Promise<z.input<typeof messages.rmpReply>> => {
    const { address, ...operands } = messages.rmpadjustCall.parse(request.body);
    return { status: await vcpuOf(request.params).view.rmpadjust(address, operands) };
  });
  app.post('/vcpus/:id/place', async (request) => {
    const { address, placement } = messages.placeCall.parse(request.body);
    const { view, attachment } = vcpuOf(request.params);
    await view.place((placed) => runElsewhere(placed, attachment, placement), address);
    return {};
  });

  function vcpuOf(parameters: unknown): RemoteVcpu {
    const vcpu = vcpus.get(idOf(parameters));
    if (vcpu === undefined) throw new GuestFault('machine-gone', 'there is no such vCPU');
    return vcpu;
  }

  async function runElsewhere(view: GuestView, attachment?: Attachment, placement?: number): Promise<void> {
    if (attachment?.isGone === true) throw processGone();
    const id = ++last;
    try {
      await new Promise<void>((end, fail) => {
        const vcpu: RemoteVcpu = { id, view, end, fail, attachment, placement };
        attachment?.vcpus.add(vcpu);
        vcpus.set(id, vcpu);
        waiting.push(vcpu);
        handOut();
      });
    } finally {
      vcpus.delete(id);
    }
  }

  return (view) => runElsewhere(view);
}

const processGone = () => new Error("the guest's process went away");

/** Resolves when the host has entered the guest again, with its answer to a request in the GHCB MSR. */
async function leave(
  { view, end, fail }: RemoteVcpu,
  exit: z.output<typeof messages.guestLeaves>['exit'],
): Promise<bigint | undefined> {
  switch (exit.kind) {
    case 'msr-protocol':
      return view.msrProtocol(exit.request);
    case 'vmgexit':
      await view.vmgexit(exit.ghcbGuestAddress);
      break;
    case 'out':
      await view.out(exit.port, exit.value);
      break;
    case 'halt':
      await view.halt();
      break;
    case 'shutdown':
      void view.shutdown().catch(fail);
      break;
    case 'returned':
      end();
      break;
    case 'failed':
      fail(new Error("the guest's program failed in its own process"));
  }
  return undefined;
}

function idOf(parameters: unknown): number {
  return Number((parameters as { readonly id?: string }).id);
}
