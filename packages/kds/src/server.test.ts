import { request } from 'node:http';
import { connect } from 'node:net';
import { concat, toHex, UnavailableError } from '@vouchsafe/sev';
import { expect, onTestFinished, test } from 'vitest';
import { openDevelopmentAuthority } from './development-authority.js';
import { serveKds } from './server.js';
import { testAuthorityKeys } from './testing/authority-keys.js';
import { makeChip } from './testing/chip.js';
import { temporaryFolder } from './testing/temporary.js';

async function served() {
  const folder = temporaryFolder();
  const open = (generation: 'naples' | 'milan') =>
    openDevelopmentAuthority({ folder, generation, generateKeys: testAuthorityKeys });
  const [naples, milan] = [await open('naples'), await open('milan')];
  const server = await serveKds([naples, milan]);
  onTestFinished(() => server.close());
  return { naples, milan, url: server.url };
}

test('closes while a stranger holds half a request open', async () => {
  const authority = await openDevelopmentAuthority({
    folder: temporaryFolder(),
    generation: 'naples',
    generateKeys: testAuthorityKeys,
  });
  const server = await serveKds(authority);
  const { hostname, port } = new URL(server.url);
  const stranger = connect(Number(port), hostname);
  onTestFinished(() => void stranger.destroy());
  stranger.on('error', () => undefined);
  stranger.write('GET /cek/id/00 HTTP/1.1\r\n');
  // Once a second connection is answered, the first has been taken in.
  await ask(server.url, '/');
  await server.close();
});

/** Asks with the path as it stands: `fetch` would tidy it first. */
function ask(url: string, path: string, method = 'GET'): Promise<{ status: number; body: Uint8Array }> {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(url);
    const sent = request({ hostname, port, path, method }, (response) => {
      const parts: Uint8Array[] = [];
      response.on('data', (part: Uint8Array) => parts.push(part));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: concat(...parts) }));
    });
    sent.on('error', reject);
    sent.end();
  });
}

test('serves on loopback what each of its sources knows', async () => {
  const { naples, milan, url } = await served();
  expect(new URL(url).hostname).toBe('127.0.0.1');
  const chip = await makeChip();
  const signed = await milan.endorse(chip.id, chip.cek);
  expect(await ask(url, `/cek/id/${toHex(chip.id)}`)).toEqual({ status: 200, body: signed });
  const bundle = await ask(url, '/developer/eula/sev/ask_ark_naples.cert');
  expect(bundle).toEqual({ status: 200, body: concat(naples.ask, naples.ark) });
});

test.each([
  ['an unknown chip', `/cek/id/${'00'.repeat(64)}`],
  ['upper-case digits', `/cek/id/${'AB'.repeat(64)}`],
  ['a short id', '/cek/id/00'],
  ['a long id', `/cek/id/${'00'.repeat(65)}`],
  ['an id with more behind it', `/cek/id/${'00'.repeat(64)}.cert`],
  ['a path out of the folder', '/cek/id/../../naples/ask.key'],
  ['an encoded path out of the folder', '/cek/id/%2e%2e%2f%2e%2e%2fnaples%2fask.key'],
  ['a private key', '/developer/eula/sev/ask.key'],
  ['a generation without an authority', '/developer/eula/sev/ask_ark_rome.cert'],
  ['no generation', '/developer/eula/sev/ask_ark_.cert'],
  ['a path out of the bundles', '/developer/eula/sev/ask_ark_../../ask.key'],
  ['a null byte', `/cek/id/${'00'.repeat(63)}%00`],
  ['the root', '/'],
])('%s is not known there', async (_name, path) => {
  const { url } = await served();
  const { status, body } = await ask(url, path);
  expect(status).toBe(404);
  expect(new TextDecoder().decode(body)).toBe('not known here\n');
});

test('a malformed escape is refused without saying why', async () => {
  const { url } = await served();
  const { status, body } = await ask(url, '/cek/id/%zz');
  expect([400, 404]).toContain(status);
  expect(new TextDecoder().decode(body)).not.toMatch(/at |Error/);
});

test('nothing can be sent to it', async () => {
  const { url } = await served();
  for (const method of ['POST', 'PUT', 'DELETE']) {
    expect((await ask(url, '/developer/eula/sev/ask_ark_naples.cert', method)).status).toBe(404);
  }
});

test('an address that is taken is a clear error', async () => {
  const { url } = await served();
  await expect(serveKds([], { port: Number(new URL(url).port) })).rejects.toBeInstanceOf(UnavailableError);
});

test('a source that fails is not quoted to the asker', async () => {
  const server = await serveKds({
    findCek: () => Promise.reject(new Error('/home/someone/secret-place')),
    findAskArk: async () => undefined,
  });
  onTestFinished(() => server.close());
  const { status, body } = await ask(server.url, `/cek/id/${'00'.repeat(64)}`);
  expect(status).toBe(500);
  expect(new TextDecoder().decode(body)).toBe('this request cannot be served\n');
});
