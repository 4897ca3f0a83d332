import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { temporaryFolder } from '../../../kds/src/testing/temporary.js';

export const greeting = JSON.stringify({
  QMP: { version: { qemu: { major: 7, minor: 2, micro: 0 }, package: 'scripted' }, capabilities: [] },
});

/** A peer that says what a test wants: `answer` gets what the client sent, as text. */
export async function scriptedQmp(
  onConnect: (socket: Socket) => void,
  answer: (message: { execute: string; id: number }, socket: Socket) => void = () => undefined,
): Promise<string> {
  const path = join(temporaryFolder(), 'qmp');
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => {
      for (const line of text.split('\r\n').filter((each) => each !== '')) answer(JSON.parse(line), socket);
    });
    onConnect(socket);
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    return new Promise<void>((resolve) => server.close(() => resolve()));
  });
  return path;
}

/** Agrees to capabilities, and leaves everything else to `answer`. */
export function negotiating(answer: (message: { execute: string; id: number }, socket: Socket) => void) {
  return scriptedQmp(
    (socket) => socket.write(`${greeting}\r\n`),
    (message, socket) => {
      if (message.execute === 'qmp_capabilities')
        socket.write(`${JSON.stringify({ return: {}, id: message.id })}\r\n`);
      else answer(message, socket);
    },
  );
}
