import { randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { toBase64 } from '@vouchsafe/sev';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { makeBroker } from '../../../../broker/src/testing/broker.js';
import { blobPath, editManifest, makeOciImage, manifestOf } from '../../../../guest/src/testing/oci-image.js';
import { describeWithVectors, vectorPath } from '../../../../sev/src/testing/vectors.js';
import { run, runJson } from '../../testing/run.js';

let folder: string;
let digests: string[];
const at = (name: string) => join(folder, name);
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'vouchsafe-image-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  digests = makeOciImage(at('plain'), { layers: [randomBytes(3000), randomBytes(3000)], name: 'web' });
  writeFileSync(at('key'), randomBytes(32));
});

const keyId = 'kbs:///acme/image-key/1';
const encrypt = (...more: string[]) => run(['image', 'encrypt', at('plain'), at('secret'), ...more]);
const decrypt = (...more: string[]) =>
  runJson<{ accepted: boolean; checks: { id: string; status: string }[]; error?: { code: string } }>([
    ...['image', 'decrypt', `oci:${at('secret')}:web`, `${at('opened')}:v1`],
    ...more,
  ]);
const layerDigests = (name: string) => manifestOf(at(name)).layers.map(({ digest }) => digest);

async function brokerAddress() {
  const world = await makeBroker();
  writeFileSync(at('token'), world.token);
  const address = await world.broker.listen({ host: '127.0.0.1', port: 0 });
  return { world, options: ['--broker', address, '--token', at('token')] };
}

describe('image encrypt and decrypt', () => {
  it('with a key in a file, or in a table under its id', async () => {
    const made = await encrypt('--key', at('key'), '--key-id', keyId);
    expect([made.exit, made.stderr]).toEqual([0, '']);
    expect(made.stdout).toContain(keyId);
    writeFileSync(at('keys'), JSON.stringify({ 'acme/image-key/1': toBase64(readFileSync(at('key'))) }));
    for (const source of [
      ['--key', at('key')],
      ['--keys', at('keys'), '--repository', 'acme'],
    ]) {
      rmSync(at('opened'), { recursive: true, force: true });
      const { exit, document } = await decrypt(...source);
      expect([exit, document.accepted]).toEqual([0, true]);
      expect(layerDigests('opened')).toEqual(digests);
    }
    const index = JSON.parse(readFileSync(at('opened/index.json'), 'utf8'));
    expect(index.manifests[0].annotations).toEqual({ 'org.opencontainers.image.ref.name': 'v1' });
  });

  it('with the keys that were injected, which are wiped', async () => {
    await encrypt('--key', at('key'), '--key-id', keyId);
    const entry = join(folder, 'e6f5a162-d67f-4750-a67c-5d065f2a9910');
    writeFileSync(entry, JSON.stringify({ [keyId]: toBase64(readFileSync(at('key'))) }));
    expect((await decrypt('--injected', '--folder', folder)).exit).toBe(0);
    expect(layerDigests('opened')).toEqual(digests);
    expect(readdirSync(folder)).not.toContain('e6f5a162-d67f-4750-a67c-5d065f2a9910');
    expect((await decrypt('--injected', '--folder', folder)).exit).toBe(3);
  });

  it('with a new key, written for its owner alone', async () => {
    expect((await encrypt()).stderr).toContain('otherwise nobody could ever open the image');
    expect((await encrypt('--key-out', at('new'))).exit).toBe(0);
    expect([statSync(at('new')).size, statSync(at('new')).mode & 0o777]).toEqual([32, 0o600]);
    expect((await decrypt('--key', at('new'))).exit).toBe(0);
  });

  it('with a new key that only the broker has; an id that is taken is not taken twice', async () => {
    const { world, options } = await brokerAddress();
    expect((await encrypt('--register', '--key-id', keyId, ...options)).exit).toBe(0);
    const { json } = await world.admin.get<{ path: string }[]>('/v1/secrets');
    expect(json.map(({ path }) => path)).toEqual(['acme/image-key/1']);
    rmSync(at('secret'), { recursive: true });
    const again = await encrypt('--register', '--key-id', keyId, ...options);
    expect([again.exit, again.stderr]).toEqual([2, expect.stringContaining('has something at')]);
    expect(readdirSync(at('secret/blobs/sha256'))).toEqual([]);
  });

  it('ends with 1 and the check where a layer was altered or the key is another', async () => {
    await encrypt('--key', at('key'), '--key-id', keyId);
    writeFileSync(at('other'), randomBytes(32));
    const failed = (checks: { id: string; status: string }[]) =>
      checks.find((each) => each.status === 'fail')?.id;
    const wrong = await decrypt('--key', at('other'));
    expect([wrong.exit, failed(wrong.document.checks)]).toEqual([1, 'layer.key']);
    const foreign = await decrypt('--key', at('key'), '--repository', 'other');
    expect([foreign.exit, failed(foreign.document.checks)]).toEqual([1, 'layer.key-id']);
    const manifest = await decrypt('--key', at('key'), '--manifest', `sha256:${'0'.repeat(64)}`);
    expect([manifest.exit, failed(manifest.document.checks)]).toEqual([1, 'image.manifest']);
    const [layer] = manifestOf(at('secret')).layers;
    writeFileSync(blobPath(at('secret'), layer!.digest), randomBytes(10));
    const altered = await decrypt('--key', at('key'));
    expect([altered.exit, failed(altered.document.checks)]).toEqual([1, 'layer.digest']);
    expect(readdirSync(at('opened/blobs/sha256'))).toEqual([]);
  });

  it('wants one place for keys, a manifest’s digest, a number of a layer, a key of 32 bytes', async () => {
    await encrypt('--key', at('key'), '--key-id', keyId);
    writeFileSync(at('short'), 'short');
    for (const words of [
      [],
      ['--key', at('key'), '--injected'],
      ['--key', at('key'), '--manifest', 'latest'],
      ['--key', at('short')],
    ])
      expect((await decrypt(...words)).exit).toBe(2);
    expect((await encrypt('--key', at('key'))).stderr).toContain('--key-id');
    expect((await encrypt('--key', at('key'), '--key-id', 'kbs:///../x/y')).exit).toBe(2);
    expect((await encrypt('--key', at('key'), '--key-id', keyId, '--encrypt-layer', 'one')).exit).toBe(2);
    expect((await run(['image', 'inspect', at('nowhere')])).exit).toBe(3);
    expect((await run(['image', 'inspect', `${at('plain')}:other`])).stderr).toContain('name one: web');
  });
});

it('image inspect shows who can open what, and that some can be read by all', async () => {
  await encrypt('--key', at('key'), '--key-id', keyId, '--encrypt-layer', '-1');
  const { stdout } = await run(['image', 'inspect', `${at('secret')}:web`]);
  expect(stdout).toMatch(/0 +sha256:[0-9a-f]{64} +\d+ +no/);
  expect(stdout).toMatch(
    /1 +sha256:.* AES_256_CTR_HMAC_SHA256 +kbs:\/\/\/acme\/image-key\/1 \(attestation-agent\)/,
  );
  editManifest(at('secret'), ({ layers }) => {
    layers[1]!.annotations!['org.opencontainers.image.enc.keys.jwe'] = 'e30=';
  });
  expect((await run(['image', 'inspect', at('secret')])).stdout).toContain('attestation-agent), jwe');
});

describe('image key-provider, as a command', () => {
  const request = (parameters: string) =>
    new TextEncoder().encode(
      JSON.stringify({
        op: 'keywrap',
        keywrapparams: {
          ec: { Parameters: { any: [toBase64(new TextEncoder().encode(parameters))] } },
          optsdata: toBase64(new TextEncoder().encode('{"symkey":"layer"}')),
        },
      }),
    );
  const ask = (stdin: Uint8Array, ...more: string[]) => run(['image', 'key-provider', ...more], { stdin });
  const packetOf = (stdout: string) =>
    JSON.parse(Buffer.from(JSON.parse(stdout).keywrapresults.annotation).toString()) as { kid: string };

  it('wraps with a key from a file, and prints one line of JSON with lists of numbers', async () => {
    const { exit, stdout, stderr } = await ask(request(`keyid=${keyId}::keypath=${at('key')}`));
    expect([exit, stderr, stdout.trim().split('\n').length]).toEqual([0, '', 1]);
    expect(packetOf(stdout)).toMatchObject({ kid: keyId, wrap_type: 'A256GCM' });
    const version2 = await ask(request(`keyid=${keyId}::keypath=${at('key')}`), '--packets', '2');
    expect(packetOf(version2.stdout)).toMatchObject({ version: '0.1.0', provider: 'kbs' });
  });

  it('wraps with no key that guests could not find', async () => {
    expect((await ask(request('Enabled'))).stderr).toContain('keyid: it has to be given');
    expect((await ask(request(`keyid=${keyId}`))).stderr).toContain(`there is no key for ${keyId} here`);
    const missing = await ask(request(`keyid=${keyId}::keypath=${at('none')}`));
    expect([missing.exit, missing.stdout]).toEqual([3, '']);
    expect((await ask(new TextEncoder().encode('{"op":"keywrap"}'))).exit).toBe(2);
    writeFileSync(at('keys'), JSON.stringify({ [keyId]: toBase64(randomBytes(32)) }));
    const other = await ask(request(`keyid=${keyId}::keypath=${at('key')}`), '--keys', at('keys'));
    expect([other.exit, other.stderr]).toEqual([2, expect.stringContaining('another key has the id')]);
  });

  it('stores a new key with a Trustee broker before it answers, and fails when that does', async () => {
    const { generateKeyPairSync } = await import('node:crypto');
    const { privateKey, publicKey } = generateKeyPairSync('ed25519');
    writeFileSync(at('admin.pem'), privateKey.export({ format: 'pem', type: 'pkcs8' }));
    const keys = [publicKey.export({ format: 'jwk' })];
    const identities = {
      name: 'coco',
      keys,
      roles: { owner: ['admin'] as const },
      withoutRole: ['admin'] as const,
    };
    const world = await makeBroker({ trusteeAdministrators: [identities] });
    const address = await world.broker.listen({ host: '127.0.0.1', port: 0 });
    const trustee = ['--trustee', address, '--admin-key', at('admin.pem')];
    const stored = async () => {
      const { json } = await world.admin.get<{ path: string }[]>('/v1/secrets');
      return json.map(({ path }) => `kbs:///${path}`);
    };
    const made = await ask(request('Enabled'), ...trustee);
    expect([made.exit, made.stderr]).toEqual([0, '']);
    expect(await stored()).toEqual([packetOf(made.stdout).kid]);
    const named = await ask(
      request(`keyid=${keyId}::keypath=${at('key')}`),
      ...trustee,
      '--admin-role',
      'owner',
    );
    expect(named.exit).toBe(0);
    expect(await stored()).toContain(keyId);

    const hidden = await ask(request(`keyid=${keyId}`), ...trustee);
    expect([hidden.exit, hidden.stderr]).toEqual([2, expect.stringContaining('a new key could hide one')]);
    const nobody = await ask(request('Enabled'), ...trustee, '--admin-role', 'guest');
    expect([nobody.exit, nobody.stdout]).toEqual([3, '']);
    expect(nobody.stderr).toMatch(/it did not store default\/image-kek\/[0-9a-f-]+: status 401/);
  });

  it('takes no answer but success for success', async () => {
    for (const status of [302, 404, 500]) {
      const server = createServer((_request, response) => {
        response.writeHead(status, { location: '/' }).end('{"detail":"a reason\\u0007"}');
      });
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      onTestFinished(() => void server.close());
      writeFileSync(at('token'), 'token');
      const { port } = server.address() as AddressInfo;
      const trustee = ['--trustee', `http://127.0.0.1:${port}`, '--admin-token', at('token')];
      const { exit, stdout, stderr } = await ask(request('Enabled'), ...trustee);
      expect([exit, stdout]).toEqual([3, '']);
      expect(stderr).toContain(`status ${status}, a reason `);
    }
    const clear = ['--trustee', 'http://broker.example', '--admin-token', at('token')];
    expect((await ask(request('Enabled'), ...clear)).stderr).toContain('in the clear');
    expect((await ask(request('Enabled'), ...clear, '--register')).exit).toBe(2);
  });
});

describeWithVectors('kbs/image/oci-encrypted', () => {
  it('inspect and decrypt, with the transcript’s key', async () => {
    const image = vectorPath('kbs/image/oci-encrypted/encrypted');
    const { createHash } = await import('node:crypto');
    writeFileSync(at('kek'), createHash('sha256').update('kek').digest());
    const opened = await run(['image', 'decrypt', `${image}:latest`, at('vector'), '--key', at('kek')]);
    expect([opened.exit, opened.stderr]).toEqual([0, '']);
    expect(layerDigests('vector')).toEqual(
      manifestOf(vectorPath('kbs/image/oci-encrypted/plain')).layers.map(({ digest }) => digest),
    );
  });
});
