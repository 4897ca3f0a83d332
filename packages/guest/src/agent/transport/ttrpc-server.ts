import { createServer, type Socket } from 'node:net';
import {
  largestTtrpcMessage,
  parseTtrpcRequest,
  type RpcFailure,
  rpcCodes,
  type ServedMethod,
  ttrpcFlags,
  ttrpcHeader,
  ttrpcMessageTypes,
  ttrpcResponse,
} from '@vouchsafe/protocol';
import type { AgentServer } from './agent-server.js';
import { rpcFailureOf } from './rpc-failure.js';

/** Calls of one connection that are answered at the same time. */
const mostCalls = 64;

/** Serves methods over ttrpc, on a unix socket: who may connect, the kernel decides by the mode of its file. */
export function ttrpcServer(methods: readonly ServedMethod[]): AgentServer {
  const connections = new Set<Socket>();
  const server = createServer((socket) => {
    connections.add(socket);
    socket.once('close', () => connections.delete(socket));
    // A client that goes away takes its connection along and nothing else.
    socket.on('error', () => undefined);
    void serve(socket, methods).finally(() => socket.destroy());
  });
  return {
    server,
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of connections) socket.destroy();
      await closed;
    },
  };
}

/** Until the connection ends, or sends what is no frame: what would follow could not be told apart. */
async function serve(socket: Socket, methods: readonly ServedMethod[]): Promise<void> {
  const calls = new Set<Promise<void>>();
  let lastStream = 0;
  const send = (streamId: number, answer: Uint8Array | RpcFailure) => {
    if (socket.writable) socket.write(ttrpcResponse(streamId, answer));
  };
  try {
    for await (const { streamId, type, flags, message } of framesOf(socket)) {
      if (message === undefined) {
        const limit = `messages have at most ${largestTtrpcMessage} bytes`;
        send(streamId, { code: rpcCodes.RESOURCE_EXHAUSTED, message: limit });
        return;
      }
      if (type !== ttrpcMessageTypes.request) continue;
      if (streamId % 2 === 0 || streamId <= lastStream) {
        const rule = 'a client numbers its calls with odd numbers that rise';
        send(streamId, { code: rpcCodes.INVALID_ARGUMENT, message: rule });
        continue;
      }
      lastStream = streamId;
      if ((flags & ttrpcFlags.remoteOpen) !== 0) {
        send(streamId, { code: rpcCodes.UNIMPLEMENTED, message: 'no method here takes a stream' });
        continue;
      }
      const call = answerTo(message, methods).then((answer) => send(streamId, answer));
      calls.add(call);
      void call.finally(() => calls.delete(call));
      if (calls.size >= mostCalls) await Promise.race(calls);
    }
    await Promise.all(calls);
  } catch {
    // The connection broke: there is nobody left to tell.
  }
}

async function answerTo(
  message: Uint8Array,
  methods: readonly ServedMethod[],
): Promise<Uint8Array | RpcFailure> {
  try {
    const { service, method, payload } = parseTtrpcRequest(message);
    const found = methods.find((each) => each.service === service && each.method === method);
    if (found !== undefined) return await found.call(payload);
    const name = JSON.stringify(`${service}/${method}`.slice(0, 200));
    return { code: rpcCodes.UNIMPLEMENTED, message: `this agent has no method ${name}` };
  } catch (error) {
    return rpcFailureOf(error);
  }
}

interface Frame {
  readonly streamId: number;
  readonly type: number;
  readonly flags: number;
  /** Undefined when it would be longer than any may be. */
  readonly message: Uint8Array | undefined;
}

async function* framesOf(socket: Socket): AsyncGenerator<Frame> {
  let held: Buffer = Buffer.alloc(0);
  for await (const part of socket as AsyncIterable<Buffer>) {
    held = held.length === 0 ? part : Buffer.concat([held, part]);
    while (held.length >= ttrpcHeader.size) {
      const { length, ...header } = ttrpcHeader.parse(held.subarray(0, ttrpcHeader.size));
      if (length > largestTtrpcMessage) {
        yield { ...header, message: undefined };
        return;
      }
      const end = ttrpcHeader.size + length;
      if (held.length < end) break;
      yield { ...header, message: held.subarray(ttrpcHeader.size, end) };
      held = held.subarray(end);
    }
  }
}
