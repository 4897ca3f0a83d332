import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { UnavailableError } from '@vouchsafe/sev';
import { describe, expect, it, onTestFinished } from 'vitest';
import { temporaryFolder } from '../../../kds/src/testing/temporary.js';
import { secretOf } from '../state/testing/state.js';
import { checkpointFile, witness } from './outside-copy.js';

const checkpoint = { document: '{"number":1}', signature: Uint8Array.of(1, 2, 3) };

describe('a witness', () => {
  /** Keeps what it is sent, for those who have the token. */
  async function startWitness(): Promise<{ url: string; answers: { status?: number } }> {
    let kept: string | undefined;
    const answers: { status?: number } = {};
    const server = createServer((request, response) => {
      const chunks: Uint8Array[] = [];
      request.on('data', (chunk: Uint8Array) => chunks.push(chunk));
      request.on('end', () => {
        if (answers.status !== undefined) return response.writeHead(answers.status).end('{}');
        if (request.headers.authorization !== 'Bearer test-token') return response.writeHead(401).end();
        if (request.method === 'PUT') {
          kept = Buffer.concat(chunks).toString();
          return response.writeHead(204).end();
        }
        return kept === undefined ? response.writeHead(404).end() : response.writeHead(200).end(kept);
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => {
      server.closeAllConnections();
      server.close();
    });
    const { port } = server.address() as { port: number };
    return { url: `http://127.0.0.1:${port}/newest`, answers };
  }

  it('keeps the newest checkpoint', async () => {
    const { url } = await startWitness();
    const outside = witness({ url, token: secretOf('test-token') });
    expect(await outside.read()).toBeUndefined();
    await outside.write(checkpoint);
    expect(await outside.read()).toEqual(checkpoint);
    expect(outside.name).toMatch(/^witness at 127\.0\.0\.1:\d+$/);
  });

  it('that refuses, fails or talks nonsense is unavailable', async () => {
    const { url, answers } = await startWitness();
    const stranger = witness({ url });
    await expect(stranger.read()).rejects.toThrow(/GET was answered with status 401/);
    await expect(stranger.write(checkpoint)).rejects.toThrow(/PUT was answered with status 401/);
    answers.status = 200;
    await expect(stranger.read()).rejects.toThrow(/holds no signed checkpoint/);
    const fetch: typeof globalThis.fetch = (_url, init) => Promise.reject(new Error(JSON.stringify(init)));
    const failing = witness({ url, token: secretOf('test-token'), fetch });
    const error: unknown = await failing.read().catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(UnavailableError);
    expect(inspect(error, { depth: 9 })).not.toContain('test-token');
  });

  it.each(['http://witness.example/', 'ftp://127.0.0.1/', 'witness'])('is not at %s', (url) => {
    expect(() => witness({ url })).toThrow(/expected an https address/);
  });
});

describe('a checkpoint file', () => {
  it.each(['', '{}', '{"checkpoint":"x","signature":"!"}', '{"checkpoint":"x","signature":"AQ==","more":1}'])(
    'that holds %j is refused',
    async (text) => {
      const path = join(temporaryFolder(), 'checkpoint');
      writeFileSync(path, text);
      await expect(checkpointFile(path).read()).rejects.toThrow(/holds no signed checkpoint/);
    },
  );

  it('that cannot be reached is unavailable', async () => {
    const folder = temporaryFolder();
    await expect(checkpointFile(folder).read()).rejects.toThrow(UnavailableError);
    await expect(checkpointFile(join(folder, 'none', 'checkpoint')).write(checkpoint)).rejects.toThrow(
      UnavailableError,
    );
  });
});
