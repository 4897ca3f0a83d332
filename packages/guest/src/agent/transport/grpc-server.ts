import { createServer } from 'node:net';
import { Server, ServerCredentials, type UntypedServiceImplementation } from '@grpc/grpc-js';
import { largestTtrpcMessage, type ServedMethod } from '@vouchsafe/protocol';
import type { AgentServer, Doorkeeper } from './agent-server.js';
import { rpcFailureOf } from './rpc-failure.js';

/**
 * Serves methods over gRPC. Whoever may not call is answered PERMISSION_DENIED, with the reason, whatever is called.
 */
export function grpcServer(methods: readonly ServedMethod[], admit: Doorkeeper): AgentServer {
  const open = serverOf(methods);
  const refusing = new Set<Server>();
  const injector = open.createConnectionInjector(ServerCredentials.createInsecure());
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    admit(socket).then(
      () => injector.injectConnection(socket),
      (reason: unknown) => {
        const closed = serverOf(methods.map((method) => ({ ...method, call: () => Promise.reject(reason) })));
        refusing.add(closed);
        socket.once('close', () => {
          refusing.delete(closed);
          closed.forceShutdown();
        });
        closed.createConnectionInjector(ServerCredentials.createInsecure()).injectConnection(socket);
      },
    );
  });
  return {
    server,
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const each of [open, ...refusing]) each.forceShutdown();
      await closed;
    },
  };
}

function serverOf(methods: readonly ServedMethod[]): Server {
  const server = new Server({ 'grpc.max_receive_message_length': largestTtrpcMessage });
  const names = new Set(methods.map(({ service }) => service));
  for (const name of names) {
    const own = methods.filter(({ service }) => service === name);
    server.addService(
      Object.fromEntries(own.map((method) => [method.method, definitionOf(method)])),
      Object.fromEntries(own.map((method) => [method.method, handlerOf(method)])),
    );
  }
  return server;
}

const asBuffer = (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);

function definitionOf({ service, method }: ServedMethod) {
  const pass = (bytes: Buffer) => bytes;
  return {
    path: `/${service}/${method}`,
    requestStream: false,
    responseStream: false,
    requestSerialize: pass,
    requestDeserialize: pass,
    responseSerialize: asBuffer,
    responseDeserialize: pass,
  };
}

function handlerOf({ call }: ServedMethod): UntypedServiceImplementation[string] {
  return (
    { request }: { request: Buffer },
    done: (failure: { code: number; details: string } | null, answer?: Uint8Array) => void,
  ) => {
    call(request).then(
      (answer) => done(null, answer),
      (error: unknown) => {
        const { code, message } = rpcFailureOf(error);
        done({ code, details: message });
      },
    );
  };
}
