import { createServer, type IncomingMessage } from 'node:http';
import { openSecret, Secret, systemRandom, toBase64 } from '@vouchsafe/sev';
import { onTestFinished } from 'vitest';
import { seal, unseal } from '../sealing.js';

export interface FakeVault {
  readonly address: string;
  /** Operations that were asked for: `POST /v1/transit/encrypt/broker`. */
  readonly requests: string[];
  /** Answers with this status, and this text, from now on. */
  breakWith(status: number, text?: string): void;
}

/** The transit engine of Vault with one key, as far as a master key uses it. The token is `test-token`. */
export async function startFakeVault(): Promise<FakeVault> {
  const key = Secret.take(systemRandom(32));
  const requests: string[] = [];
  let broken: { status: number; text: string } | undefined;

  async function answer(request: IncomingMessage): Promise<{ status: number; text: string }> {
    const chunks: Uint8Array[] = [];
    for await (const chunk of request) chunks.push(chunk as Uint8Array);
    requests.push(`${request.method} ${request.url}`);
    if (broken !== undefined) return broken;
    if (request.headers['x-vault-token'] !== 'test-token') return errors(403, 'permission denied');
    if (request.headers['x-vault-request'] !== 'true') return errors(412, 'required header missing');
    const body = JSON.parse(Buffer.concat(chunks).toString()) as Record<string, string>;
    const context = Buffer.from(body['associated_data']!, 'base64');
    if (request.url === '/v1/transit/encrypt/broker') {
      const sealed = seal(key, context, Buffer.from(body['plaintext']!, 'base64'), systemRandom);
      return data({ ciphertext: `vault:v1:${toBase64(sealed)}`, key_version: 1 });
    }
    if (request.url === '/v1/transit/decrypt/broker') {
      const sealed = Buffer.from(body['ciphertext']!.replace('vault:v1:', ''), 'base64');
      const plaintext = unseal(key, context, sealed);
      if (plaintext === undefined) return errors(400, 'cipher: message authentication failed');
      return data({ plaintext: toBase64(openSecret(plaintext)) });
    }
    return errors(404, 'no handler for route');
  }

  const server = createServer((request, response) => {
    void answer(request).then(({ status, text }) => {
      response.writeHead(status, { 'content-type': 'application/json' }).end(text);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as { port: number };
  return {
    address: `http://127.0.0.1:${port}`,
    requests,
    breakWith(status, text = '{}') {
      broken = { status, text };
    },
  };
}

const data = (value: object) => ({ status: 200, text: JSON.stringify({ data: value }) });
const errors = (status: number, message: string) => ({ status, text: JSON.stringify({ errors: [message] }) });
