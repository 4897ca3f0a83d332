import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  brokerResources,
  connectKeyBroker,
  guestKeyProvider,
  type ImageDescription,
  serveKeyProvider,
} from '@vouchsafe/guest';
import { buildCertificateTable, certificateTableGuids, toBase64 } from '@vouchsafe/sev';
import { describe, expect, it, onTestFinished } from 'vitest';
import {
  base64,
  makeBroker,
  permitAll,
  publish,
  type TestBroker,
} from '../../../../broker/src/testing/broker.js';
import {
  blobPath,
  type Compression,
  digestOf,
  makeOciImage,
  manifestOf,
} from '../../../../guest/src/testing/oci-image.js';
import { makeReport } from '../../../../sev/src/testing/reports.js';
import { binary, build } from '../../testing/process.js';
import { run, runJson, type Started, start } from '../../testing/run.js';
import { skopeoCopy, skopeoIsMissing, writeSkopeoConfig } from '../../testing/skopeo.js';

/** What tools call a provider is their users' choice. */
const name = 'attestation-agent';

interface World {
  readonly at: (name: string) => string;
  readonly broker: TestBroker;
  readonly address: string;
  /** Options that lead to the broker. */
  readonly administration: readonly string[];
}

async function world(): Promise<World> {
  const folder = mkdtempSync(join(tmpdir(), 'vouchsafe-skopeo-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const at = (file: string) => join(folder, file);
  const broker = await makeBroker();
  await publish(broker);
  await broker.admin.put('/v1/policies/default', { policy: base64(permitAll) });
  const address = await broker.broker.listen({ host: '127.0.0.1', port: 0 });
  writeFileSync(at('token'), broker.token);
  return { at, broker, address, administration: ['--broker', address, '--token', at('token')] };
}

/** Starts our key provider for encrypting, and writes the file that skopeo finds it by. */
async function encrypting({ at, administration }: World, more: readonly string[] = []): Promise<string> {
  const words = [
    'image',
    'key-provider',
    'serve',
    '--listen',
    '127.0.0.1:0',
    '--register',
    ...administration,
  ];
  const started: Started<{ grpc: string; config: object }> = await start([...words, ...more]);
  onTestFinished(async () => expect((await started.stop()).exit).toBe(0));
  writeFileSync(at('encrypt.conf'), JSON.stringify(started.document.config));
  return at('encrypt.conf');
}

/** Serves the key provider of a guest that attests to the broker. */
async function decrypting({ at, broker, address }: World): Promise<string> {
  const { endorser } = broker.silicon;
  const vcek = { guid: certificateTableGuids.VCEK, bytes: (await endorser.vek('VCEK')).raw };
  const client = connectKeyBroker({
    address,
    trust: {},
    device: {
      report: async ({ reportData }) => ({
        report: await makeReport(endorser.vekKey, { fields: { vmpl: 0, reportData } }),
        certificateTable: buildCertificateTable([vcek]),
      }),
    },
    now: () => performance.now(),
    pause: async () => undefined,
  });
  const served = await serveKeyProvider(guestKeyProvider(brokerResources(client)), '127.0.0.1:0', {
    users: [],
  });
  onTestFinished(() => served.close());
  writeSkopeoConfig(at('decrypt.conf'), name, { grpc: served.place });
  return at('decrypt.conf');
}

const layerDigests = (folder: string) => manifestOf(folder).layers.map(({ digest }) => digest);
const encryption = (parameters = '') => ['--encryption-key', `provider:${name}${parameters}`];
const decryption = ['--decryption-key', `provider:${name}:any`];
const layersOf = (count: number) => Array.from({ length: count }, () => randomBytes(50_000));

describe('skopeo 1.18 with our key providers', () => {
  it.for<[number, Compression]>([
    [1, 'gzip'],
    [3, 'gzip'],
    [1, 'zstd'],
    [3, 'zstd'],
  ])('encrypts and decrypts %i layers, %s', async ([count, compression], { skip }) => {
    if (skopeoIsMissing !== undefined) return skip(skopeoIsMissing);
    const setting = await world();
    const { at } = setting;
    const digests = makeOciImage(at('plain'), { layers: layersOf(count), compression });
    const keyId = 'kbs:///acme/image-key/web';
    const parameters = `:keyid=${keyId}::algorithm=A256GCM`;
    const images = [
      `oci:${at('plain')}:latest`,
      `oci:${at('secret')}:latest`,
      `oci:${at('opened')}:latest`,
    ] as const;
    const made = await skopeoCopy(await encrypting(setting), [
      ...encryption(parameters),
      images[0],
      images[1],
    ]);
    expect([made.exit, made.stderr]).toEqual([0, '']);
    const { layers } = manifestOf(at('secret'));
    expect(layers.map(({ mediaType }) => mediaType)).toEqual(
      Array(count).fill(`application/vnd.oci.image.layer.v1.tar+${compression}+encrypted`),
    );
    const { document } = await runJson<ImageDescription>(['image', 'inspect', at('secret')]);
    const named = document.layers.flatMap(({ encryption: told }) => told?.keys ?? []);
    expect(named).toEqual(Array(count).fill({ provider: name, keyId }));

    const opened = await skopeoCopy(await decrypting(setting), [...decryption, images[1], images[2]]);
    expect([opened.exit, opened.stderr]).toEqual([0, '']);
    expect(layerDigests(at('opened'))).toEqual(digests);
    for (const digest of digests) expect(digestOf(readFileSync(blobPath(at('opened'), digest)))).toBe(digest);

    // All layers have one key: a second version would have hidden the first.
    const secrets = await setting.broker.admin.get<{ path: string; versions: object[] }[]>('/v1/secrets');
    expect(secrets.json).toMatchObject([{ path: 'acme/image-key/web', versions: [{ version: 1 }] }]);
  });

  it('makes a new key under a new id for each layer where the user names none', async ({ skip }) => {
    if (skopeoIsMissing !== undefined) return skip(skopeoIsMissing);
    const setting = await world();
    const { at } = setting;
    const digests = makeOciImage(at('plain'), { layers: layersOf(2) });
    const more = ['--packets', '2'];
    const words = [...encryption(), `oci:${at('plain')}:latest`, `oci:${at('secret')}:latest`];
    expect((await skopeoCopy(await encrypting(setting, more), words)).exit).toBe(0);
    const { document } = await runJson<ImageDescription>(['image', 'inspect', at('secret')]);
    const ids = document.layers.flatMap(({ encryption: told }) => told?.keys.map(({ keyId }) => keyId) ?? []);
    expect(new Set(ids).size).toBe(2);
    for (const id of ids) expect(id).toMatch(/^kbs:\/\/\/default\/image-kek\/[0-9a-f-]{36}$/);
    const config = await decrypting(setting);
    const back = [...decryption, `oci:${at('secret')}:latest`, `oci:${at('opened')}:latest`];
    expect((await skopeoCopy(config, back)).exit).toBe(0);
    expect(layerDigests(at('opened'))).toEqual(digests);
  });

  it('opens what `vouchsafe image encrypt` made, and the reverse', async ({ skip }) => {
    if (skopeoIsMissing !== undefined) return skip(skopeoIsMissing);
    const setting = await world();
    const { at, administration } = setting;
    const digests = makeOciImage(at('plain'), { layers: layersOf(2) });
    const words = ['image', 'encrypt', at('plain'), at('ours'), '--register', '--key-out', at('key')];
    expect((await run([...words, ...administration])).exit).toBe(0);
    const back = [...decryption, `oci:${at('ours')}:latest`, `oci:${at('opened')}:latest`];
    const { exit, stderr } = await skopeoCopy(await decrypting(setting), back);
    expect([exit, stderr]).toEqual([0, '']);
    expect(layerDigests(at('opened'))).toEqual(digests);

    const parameters = `:keyid=kbs:///acme/image-key/2::keypath=${at('key')}`;
    const theirs = [...encryption(parameters), `oci:${at('plain')}:latest`, `oci:${at('theirs')}:latest`];
    expect((await skopeoCopy(await encrypting(setting), theirs)).exit).toBe(0);
    expect((await run(['image', 'decrypt', at('theirs'), at('again'), '--key', at('key')])).exit).toBe(0);
    expect(layerDigests(at('again'))).toEqual(digests);
  });

  it('starts it as a command, too', async ({ skip }) => {
    if (skopeoIsMissing !== undefined) return skip(skopeoIsMissing);
    await build();
    const { at } = await world();
    const digests = makeOciImage(at('plain'), { layers: layersOf(2) });
    writeFileSync(at('keys'), JSON.stringify({ 'acme/image-key/1': toBase64(randomBytes(32)) }));
    const args = [binary, 'image', 'key-provider', '--keys', at('keys')];
    writeSkopeoConfig(at('command.conf'), 'some-name', { cmd: { path: process.execPath, args } });
    const key = 'provider:some-name:keyid=kbs:///acme/image-key/1';
    const there = ['--encryption-key', key, `oci:${at('plain')}:latest`, `oci:${at('secret')}:latest`];
    const back = ['--decryption-key', key, `oci:${at('secret')}:latest`, `oci:${at('opened')}:latest`];
    for (const words of [there, back]) {
      const { exit, stderr } = await skopeoCopy(at('command.conf'), words);
      expect([exit, stderr]).toEqual([0, '']);
    }
    expect(layerDigests(at('secret'))).not.toEqual(digests);
    expect(layerDigests(at('opened'))).toEqual(digests);
  });

  it('fails where the key cannot be stored, or would hide another, and leaves no image', async ({ skip }) => {
    if (skopeoIsMissing !== undefined) return skip(skopeoIsMissing);
    const setting = await world();
    const { at, broker } = setting;
    makeOciImage(at('plain'), { layers: layersOf(1) });
    const config = await encrypting(setting);
    const copy = (parameters: string) =>
      skopeoCopy(config, [
        ...encryption(parameters),
        `oci:${at('plain')}:latest`,
        `oci:${at('secret')}:latest`,
      ]);
    await broker.admin.put('/v1/secrets/acme/image-key/old', { content: toBase64(randomBytes(32)) });
    const taken = await copy(':keyid=kbs:///acme/image-key/old');
    expect(taken.exit).not.toBe(0);
    expect(taken.stderr).toContain('the broker has something at kbs:///acme/image-key/old already');
    const weak = await copy(':keyid=kbs:///acme/image-key/new::algorithm=A256CTR');
    expect(weak.stderr).toContain('expected A256GCM');
    await broker.broker.close();
    const away = await copy(':keyid=kbs:///acme/image-key/new');
    expect(away.exit).not.toBe(0);
    expect(away.stderr).toContain(`${setting.address} does not answer`);
    expect(existsSync(join(at('secret'), 'index.json'))).toBe(false);
  });

  it('does not decrypt for a guest that the broker refuses', async ({ skip }) => {
    if (skopeoIsMissing !== undefined) return skip(skopeoIsMissing);
    const setting = await world();
    const { at, broker } = setting;
    makeOciImage(at('plain'), { layers: layersOf(1) });
    const there = [...encryption(), `oci:${at('plain')}:latest`, `oci:${at('secret')}:latest`];
    expect((await skopeoCopy(await encrypting(setting), there)).exit).toBe(0);
    await broker.admin.put('/v1/policies/default', {
      policy: base64('@id("nobody")\nforbid (principal, action, resource);\n'),
    });
    const back = [...decryption, `oci:${at('secret')}:latest`, `oci:${at('opened')}:latest`];
    const { exit, stderr } = await skopeoCopy(await decrypting(setting), back);
    expect(exit).not.toBe(0);
    expect(stderr).toMatch(/does not release default\/image-kek\/[0-9a-f-]+/);
    expect(existsSync(join(at('opened'), 'index.json'))).toBe(false);
  });
});
