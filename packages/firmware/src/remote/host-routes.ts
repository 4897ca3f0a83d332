import type { FastifyInstance } from 'fastify';
import type { z } from 'zod';
import type { HostMachine } from '../mailbox.js';
import * as messages from './messages.js';

/** What a host process may ask of the machine: exactly the HostMachine. */
export function addHostRoutes(app: FastifyInstance, machine: HostMachine): void {
  app.post('/describe', async (): Promise<z.input<typeof messages.machineDescription>> => {
    return { memorySize: machine.memory.size, capabilities: machine.capabilities };
  });
  app.get('/memory', async (request, reply) => {
    const { address, length } = messages.memoryRange.parse(request.query);
    return reply
      .type('application/octet-stream')
      .send(Buffer.from(await machine.memory.read(address, length)));
  });
  app.put('/memory', async (request, reply) => {
    const { address } = messages.memoryPlace.parse(request.query);
    await machine.memory.write(address, octets(request.body));
    return reply.code(204).send();
  });
  app.post('/commands', async (request): Promise<z.input<typeof messages.mailboxReply>> => {
    const { commandId, bufferAddress } = messages.mailboxCall.parse(request.body);
    return { status: await machine.submit(commandId, bufferAddress) };
  });
  app.post('/reverse-map/update', async (request): Promise<z.input<typeof messages.rmpReply>> => {
    const { address, request: update } = messages.rmpUpdateCall.parse(request.body);
    return { status: await machine.reverseMap.update(address, update) };
  });
  app.post('/reverse-map/smash', async (request): Promise<z.input<typeof messages.rmpReply>> => {
    return { status: await machine.reverseMap.smash(messages.rmpCall.parse(request.body).address) };
  });
  app.post('/reverse-map/read', async (request): Promise<z.input<typeof messages.rmpEntry>> => {
    return machine.reverseMap.read(messages.rmpCall.parse(request.body).address);
  });
  app.post('/write-back', async () => {
    await machine.writeBackAndInvalidate();
    return {};
  });
  app.post('/entries', async (request) => {
    return messages.vmExit.encode(await machine.enter(messages.control.parse(request.body)));
  });
}

export function octets(body: unknown): Uint8Array {
  return body instanceof Uint8Array
    ? new Uint8Array(body.buffer, body.byteOffset, body.byteLength)
    : new Uint8Array();
}
