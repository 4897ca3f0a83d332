import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { largestAnswer } from '@vouchsafe/protocol';
import { InvalidArgumentError, MalformedError, RefusedError, UnavailableError } from '@vouchsafe/sev';
import { describe, expect, it, onTestFinished } from 'vitest';
import { connectGuestOwner } from './owner-client.js';

const evidence = {
  launchId: '00112233445566778899aabbccddeeff',
  measurement: new Uint8Array(48),
  apiMajor: 1,
  apiMinor: 55,
  buildId: 24,
  policy: 11,
};

/** An owner that answers in its own way. */
async function strangeOwner(listener: RequestListener) {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const answering = (status: number, body: string) =>
  strangeOwner((_request, response) => response.writeHead(status).end(body));

describe('a host that asks an owner', () => {
  it('posts JSON to the address of the session', async () => {
    const asked: unknown[] = [];
    const address = await strangeOwner((request, response) => {
      asked.push(request.method, request.url, request.headers['content-type']);
      response.writeHead(404).end();
    });
    await expect(connectGuestOwner(`${address}/owner/`).reportMeasurement(evidence)).rejects.toThrow(
      UnavailableError,
    );
    expect(asked).toEqual([
      'POST',
      `/owner/pre-launch/sessions/${evidence.launchId}/measurement`,
      'application/json',
    ]);
  });

  it.each([
    ['no JSON', '<html>'],
    ['another message', '{}'],
    [
      'a packet with a member too many',
      JSON.stringify({ launchId: evidence.launchId, header: '', payload: '', more: 1 }),
    ],
  ])('does not accept %s', async (_, body) => {
    await expect(connectGuestOwner(await answering(200, body)).reportMeasurement(evidence)).rejects.toThrow(
      MalformedError,
    );
    await expect(connectGuestOwner(await answering(403, body)).reportMeasurement(evidence)).rejects.toThrow(
      MalformedError,
    );
  });

  it('gives a refusal as it was given', async () => {
    const check = {
      id: 'session.unused',
      title: 'unused',
      status: 'fail',
      kind: 'authenticity',
      found: 'another answer',
    };
    const body = JSON.stringify({ reason: 'no', subject: 'launch measurement', checks: [check] });
    const refused: unknown = await connectGuestOwner(await answering(403, body))
      .reportMeasurement(evidence)
      .catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(RefusedError);
    expect((refused as RefusedError).appraisal).toEqual({ subject: 'launch measurement', checks: [check] });
  });

  it('says what an owner complains of, without what could steer a terminal', async () => {
    const body = JSON.stringify({ error: 'malformed', field: '/pdh', expected: 'x\u001b[2J' });
    const failed = connectGuestOwner(await answering(400, body)).reportMeasurement(evidence);
    await expect(failed).rejects.toThrow(/status 400: malformed, \/pdh, x \[2J/);
    await expect(connectGuestOwner(await answering(500, 'oops')).reportMeasurement(evidence)).rejects.toThrow(
      /status 500$/,
    );
    await expect(connectGuestOwner(await answering(302, 'null')).reportMeasurement(evidence)).rejects.toThrow(
      /status 302$/,
    );
  });

  it('does not take an answer without end', async () => {
    const address = await answering(200, ' '.repeat(largestAnswer + 1));
    await expect(connectGuestOwner(address).reportMeasurement(evidence)).rejects.toThrow(/more than/);
  });

  it('does not wait for ever', async () => {
    const address = await strangeOwner(() => undefined);
    const client = connectGuestOwner(address, { timeout: 50 });
    await expect(client.reportMeasurement(evidence)).rejects.toThrow(UnavailableError);
  });

  it.each([
    '',
    'unix:',
    'owner',
    'ftp://owner',
    'http://user:pass@owner',
    'http://user@owner',
    'http://owner/?a',
  ])('does not take %j for an address', (address) => {
    expect(() => connectGuestOwner(address)).toThrow(InvalidArgumentError);
  });

  it('sends nothing that is not a message', async () => {
    const client = connectGuestOwner('http://127.0.0.1:1');
    await expect(client.reportMeasurement({ ...evidence, buildId: 256 })).rejects.toThrow(MalformedError);
  });
});
