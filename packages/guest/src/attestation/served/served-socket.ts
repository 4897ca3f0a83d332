import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import {
  type AttestationAnswer,
  attestationAnswer,
  attestationLineLimit,
  attestationRequest,
} from '@vouchsafe/protocol';
import { openSecret, UnavailableError, VouchsafeError } from '@vouchsafe/sev';
import { listenOnUnixSocket } from '../../sockets/unix-listener.js';
import { type AttestationDevice, RequestRefusedError } from '../attestation-device.js';
import { linesOf } from '../line-stream.js';

export interface ServedAttestation {
  /** Ends serving and removes what was made for it. The device is the caller's to close. */
  close(): Promise<void>;
}

/**
 * Serves a device on a unix socket that only this user may open. Whoever connects gets the guest's reports and keys:
 * this is for development, where a program or a guest without such hardware has to find a device.
 * @throws UnavailableError when something else is at the path, or another process listens there
 */
export async function serveAttestationSocket(
  device: AttestationDevice,
  path: string,
): Promise<ServedAttestation> {
  const connections = new Set<Socket>();
  const server = createServer((socket) => {
    connections.add(socket);
    socket.once('close', () => connections.delete(socket));
    // A client that goes away takes its connection along and nothing else.
    socket.on('error', () => undefined);
    void serveAttestationStream(device, socket).finally(() => socket.destroy());
  });
  await listenOnUnixSocket(server, path);
  return {
    async close() {
      const closed = once(server, 'close');
      server.close();
      for (const socket of connections) socket.destroy();
      await closed;
    },
  };
}

/**
 * Serves a device on a byte stream, one line a message (`attestationRequest`), until the stream ends: a connection, or
 * the serial line of a virtual machine. A line that is no request is answered with a failure, and the next one counts.
 */
export async function serveAttestationStream(device: AttestationDevice, stream: Duplex): Promise<void> {
  try {
    for await (const line of linesOf(stream, attestationLineLimit)) {
      const answer = await answerTo(device, line);
      const text = `${JSON.stringify(attestationAnswer.toJson(answer))}\n`;
      if (answer.type === 'key') answer.key.fill(0);
      if (!stream.write(text)) await Promise.race([once(stream, 'drain'), once(stream, 'close')]);
    }
  } catch {
    // The stream broke: there is nobody left to tell.
  }
}

async function answerTo(device: AttestationDevice, line: string | undefined): Promise<AttestationAnswer> {
  let id: number | undefined;
  try {
    if (line === undefined)
      throw new UnavailableError(
        'attestation request',
        `its line is longer than ${attestationLineLimit} bytes`,
      );
    const { id: number, ...request } = attestationRequest.parseText(line);
    id = number;
    if (request.type === 'report') return { type: 'report', id, ...(await device.report(request)) };
    const key = await device.deriveKey(request);
    try {
      return { type: 'key', id, key: openSecret(key).slice() };
    } finally {
      key.zero();
    }
  } catch (error) {
    return failureOf(error, id);
  }
}

function failureOf(error: unknown, id: number | undefined): AttestationAnswer {
  const numbered = id === undefined ? {} : { id };
  if (!(error instanceof VouchsafeError))
    return { type: 'failure', ...numbered, code: 'failed', message: 'the device failed' };
  const { code, message, hint } = error;
  const status = error instanceof RequestRefusedError ? error.status : undefined;
  const shown = (text: string) => text.replaceAll(/\p{Cc}+/gu, ' ').slice(0, 1024);
  return {
    type: 'failure',
    ...numbered,
    code,
    message: shown(message),
    ...(status === undefined ? {} : { status }),
    ...(hint === undefined ? {} : { hint: shown(hint) }),
  };
}
