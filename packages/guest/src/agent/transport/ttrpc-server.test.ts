import { once } from 'node:events';
import { existsSync, statSync, writeFileSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { join } from 'node:path';
import { largestTtrpcMessage, parseTtrpcRequest, ttrpcHeader, ttrpcResponse } from '@vouchsafe/protocol';
import { concat, fromHex, MalformedError, toHex } from '@vouchsafe/sev';
import fc from 'fast-check';
import { describe, expect, it, onTestFinished } from 'vitest';
import { serveAgent, utf8 } from '../../testing/agent-fixture.js';

/** Protobuf of a request, by hand: fields 1, 2 and 3, all short. */
const request = (service: string, method: string, payload: Uint8Array = new Uint8Array()) =>
  concat(
    ...[service, method, payload].map((part, i) => {
      const bytes = typeof part === 'string' ? utf8(part) : part;
      return concat(Uint8Array.of(((i + 1) << 3) | 2, bytes.length), bytes);
    }),
  );
const frame = (
  streamId: number,
  message: Uint8Array,
  { type = 1, flags = 0, length = message.length } = {},
) => concat(ttrpcHeader.build({ length, streamId, type, flags }), message);
const teeType = request('attestation_agent.AttestationAgentService', 'GetTeeType');

async function connect(path: string): Promise<Socket> {
  const socket = createConnection(path);
  onTestFinished(() => void socket.destroy());
  await once(socket, 'connect');
  return socket;
}

/** So many answers, or as many as come before the connection ends. */
async function answers(socket: Socket, count: number) {
  const found: { streamId: number; text: string }[] = [];
  let held = Buffer.alloc(0) as Buffer;
  for await (const part of socket as AsyncIterable<Buffer>) {
    held = Buffer.concat([held, part]);
    while (held.length >= 10 && held.length >= 10 + held.readUInt32BE(0)) {
      const end = 10 + held.readUInt32BE(0);
      found.push({ streamId: held.readUInt32BE(4), text: held.subarray(10, end).toString('latin1') });
      held = held.subarray(end);
    }
    if (found.length >= count) break;
  }
  return found;
}

it('a frame has the bytes that containerd’s clients send and expect', () => {
  expect(toHex(frame(1, fromHex('0a0161')))).toBe('00000003000000010100' + '0a0161');
  expect(toHex(ttrpcResponse(3, fromHex('ffee')))).toBe('00000004000000030200' + '1202ffee');
  expect(toHex(ttrpcResponse(5, { code: 7, message: 'no' }))).toBe(
    '00000008000000050200' + '0a06080712026e6f',
  );
});

describe('a connection', () => {
  it('carries several calls, in whatever pieces they come', async () => {
    const { places } = await serveAgent();
    const whole = concat(frame(1, teeType), frame(3, teeType), frame(5, teeType));
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: whole.length - 1 }), { maxLength: 5 }),
        async (cuts) => {
          const socket = await connect(places.attestationSocket);
          const ends = [...new Set(cuts), whole.length].sort((a, b) => a - b);
          let from = 0;
          for (const to of ends) {
            await new Promise<void>((sent) => socket.write(whole.subarray(from, to), () => sent()));
            from = to;
          }
          const found = await answers(socket, 3);
          expect(found.map(({ streamId }) => streamId).sort()).toEqual([1, 3, 5]);
          expect(found.every(({ text }) => text.endsWith('snp'))).toBe(true);
        },
      ),
      { numRuns: 10 },
    );
  });

  it.each<[string, Uint8Array, string]>([
    ['with an even number', frame(2, teeType), 'odd numbers that rise'],
    ['as a stream', frame(1, teeType, { flags: 2 }), 'takes a stream'],
    ['of a method that does not exist', frame(1, request('a', 'b')), 'no method "a/b"'],
    ['that is no protobuf', frame(1, fromHex('ffffffff')), 'ttrpc request'],
    [
      'whose payload is no protobuf',
      frame(1, request('attestation_agent.AttestationAgentService', 'GetToken', fromHex('ffff'))),
      'protobuf of the request',
    ],
  ])('%s: the call is refused, and the next one counts', async (_what, bytes, text) => {
    const { places } = await serveAgent();
    const socket = await connect(places.attestationSocket);
    socket.write(concat(bytes, frame(7, teeType)));
    const found = await answers(socket, 2);
    expect(found.map((each) => each.text)).toEqual(
      expect.arrayContaining([expect.stringContaining(text), expect.stringMatching(/snp$/)]),
    );
  });

  it('that numbers two calls alike is answered once', async () => {
    const { places } = await serveAgent();
    const socket = await connect(places.attestationSocket);
    socket.write(concat(frame(3, teeType), frame(3, teeType)));
    const found = await answers(socket, 2);
    expect(found.filter(({ text }) => text.includes('numbers that rise'))).toHaveLength(1);
  });

  it('that announces more than any message has is told so, and ended', async () => {
    const { places } = await serveAgent();
    const socket = await connect(places.attestationSocket);
    socket.write(frame(1, new Uint8Array(), { length: largestTtrpcMessage + 1 }));
    const found = await answers(socket, 2);
    expect(found.map(({ text }) => text)).toEqual([expect.stringContaining('at most')]);
  });

  it('that ends in the middle of a frame takes nothing along', async () => {
    const { places } = await serveAgent();
    const broken = await connect(places.attestationSocket);
    broken.end(frame(1, teeType).subarray(0, 12));
    await once(broken.resume(), 'close');
    const socket = await connect(places.attestationSocket);
    socket.write(frame(1, teeType));
    expect(await answers(socket, 1)).toHaveLength(1);
  });
});

describe('the socket', () => {
  it('is its owner’s alone, is not taken from another, and is gone afterwards', async () => {
    const { places, agent, folder, served } = await serveAgent();
    expect(statSync(places.dataHubSocket).mode & 0o777).toBe(0o600);
    await expect(agent.serve({ dataHubSocket: places.dataHubSocket })).rejects.toThrow(
      /another process listens/,
    );
    const file = join(folder, 'file');
    writeFileSync(file, 'not a socket');
    await expect(agent.serve({ dataHubSocket: file })).rejects.toThrow(/not a socket/);
    await served.close();
    expect(existsSync(places.dataHubSocket)).toBe(false);
  });
});

it('a request that is none is malformed', () => {
  expect(() => parseTtrpcRequest(fromHex('0aff'))).toThrow(MalformedError);
});
