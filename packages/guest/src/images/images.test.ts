import { createHash, randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  annotationPacketBytes,
  isEncryptedLayer,
  LayerKeyError,
  parseAnnotationPacket,
  wrapLayerOptions,
} from '@vouchsafe/protocol';
import {
  type Check,
  fromBase64,
  MalformedError,
  RefusedError,
  Secret,
  systemRandom,
  toBase64,
} from '@vouchsafe/sev';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { describeWithVectors, vectorPath } from '../../../sev/src/testing/vectors.js';
import {
  blobPath,
  digestOf,
  editManifest,
  makeOciImage,
  manifestOf,
  putBlob,
  type TestDescriptor,
} from '../testing/oci-image.js';
import { temporaryFolder } from '../testing/temporary.js';
import { type DecryptImageOptions, decryptImage, openPacketsWith } from './decrypt-image.js';
import { type EncryptImageOptions, encryptImage } from './encrypt-image.js';
import { inspectImage } from './inspect-image.js';
import { layerDecryption, layerEncryption } from './layer-cipher.js';
import { OciLayout } from './oci-layout.js';

const keyId = { repository: 'acme', type: 'image-key', tag: 'web' };
const kek = () => Secret.take(new Uint8Array(32).fill(7));
const openWith = (key: () => Secret) => openPacketsWith(async () => key());
const packetName = 'org.opencontainers.image.enc.keys.provider.attestation-agent';
const optionsName = 'org.opencontainers.image.enc.pubopts';

type Compression = 'none' | 'gzip' | 'zstd';

async function encrypted(
  { count = 2, compression = 'gzip' }: { count?: number; compression?: Compression } = {},
  more: Partial<EncryptImageOptions> = {},
) {
  const folder = temporaryFolder();
  const [plain, secret, opened] = ['plain', 'secret', 'opened'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  const layers = Array.from({ length: count }, (_, index) => new Uint8Array(randomBytes(40_000 + index)));
  const digests = makeOciImage(plain, { layers, compression });
  const result = await encryptImage({
    from: await OciLayout.open(plain),
    to: await OciLayout.create(secret),
    as: 'latest',
    key: kek(),
    keyId,
    random: systemRandom,
    ...more,
  });
  const decrypt = async (changes: Partial<DecryptImageOptions> = {}) =>
    decryptImage({
      from: await OciLayout.open(secret),
      to: await OciLayout.create(opened),
      openPacket: openWith(kek),
      ...changes,
    });
  return { plain, secret, opened, digests, result, decrypt };
}

/** The check at which decrypting was refused, and that nothing of the image was left. */
async function refusedAt(world: { opened: string }, decrypting: Promise<unknown>): Promise<Check> {
  const error = await decrypting.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(RefusedError);
  expect(readdirSync(join(world.opened, 'blobs/sha256'))).toEqual([]);
  const { checks } = (error as RefusedError).appraisal;
  return checks.find(({ status }) => status === 'fail')!;
}

describe('encrypting and decrypting an image', () => {
  it.each<[number, Compression]>([
    [1, 'gzip'],
    [3, 'gzip'],
    [1, 'zstd'],
    [3, 'zstd'],
    [1, 'none'],
  ])('with %i layers, %s: the digests of the original come back', async (count, compression) => {
    const world = await encrypted({ count, compression });
    const { layers } = manifestOf(world.secret);
    expect(layers.map(({ mediaType }) => mediaType)).toEqual(
      manifestOf(world.plain).layers.map(({ mediaType }) => `${mediaType}+encrypted`),
    );
    for (const digest of world.digests) expect(existsSync(blobPath(world.secret, digest))).toBe(false);
    const decrypted = await world.decrypt({ as: 'latest', repositories: ['acme'] });
    expect(decrypted.layers.map(({ digest }) => digest)).toEqual(world.digests);
    expect(manifestOf(world.opened)).toEqual(manifestOf(world.plain));
    for (const digest of world.digests)
      expect(digestOf(readFileSync(blobPath(world.opened, digest)))).toBe(digest);
    const statuses = decrypted.appraisal.checks.map(({ id, status }) => [id, status]);
    expect(statuses).toEqual([
      ['image.manifest', 'not-asked'],
      ['image.encrypted', 'pass'],
      ['layer.key-id', 'pass'],
      ['layer.key', 'pass'],
      ['layer.digest', 'pass'],
      ['layer.hmac', 'pass'],
      ['layer.content', 'pass'],
    ]);
  });

  it('has a key and a nonce of its own for each layer, and the cipher that its name says', async () => {
    const drawn: Uint8Array[] = [];
    const random = (length: number) => {
      const bytes = systemRandom(length);
      drawn.push(bytes.slice());
      return bytes;
    };
    const { secret, plain } = await encrypted({}, { random });
    expect(drawn.map(({ length }) => length)).toEqual([32, 16, 12, 32, 16, 12]);
    expect(new Set(drawn.map((bytes) => toBase64(bytes))).size).toBe(6);
    const { layers } = manifestOf(secret);
    for (const [index, layer] of layers.entries()) {
      const blob = readFileSync(blobPath(secret, layer.digest));
      const [key, nonce] = drawn.slice(3 * index);
      const imported = (name: string, use: KeyUsage) =>
        crypto.subtle.importKey('raw', new Uint8Array(key!), { name, hash: 'SHA-256' }, false, [use]);
      const mac = await crypto.subtle.sign('HMAC', await imported('HMAC', 'sign'), blob);
      const options = JSON.parse(new TextDecoder().decode(fromBase64(layer.annotations![optionsName]!)));
      expect(options).toEqual({
        cipher: 'AES_256_CTR_HMAC_SHA256',
        hmac: toBase64(new Uint8Array(mac)),
        cipheroptions: {},
      });
      const counter = { name: 'AES-CTR', counter: new Uint8Array(nonce!), length: 128 };
      const opened = await crypto.subtle.decrypt(counter, await imported('AES-CTR', 'decrypt'), blob);
      expect(digestOf(new Uint8Array(opened))).toBe(manifestOf(plain).layers[index]!.digest);
    }
  });

  it('encrypts the layers that were chosen, and says at decryption which were not', async () => {
    const world = await encrypted({ count: 3 }, { layers: [0, -1] });
    expect(world.result.layers.map((layer) => layer.encrypted)).toEqual([true, false, true]);
    const refused = await refusedAt(world, world.decrypt());
    expect(refused).toMatchObject({ id: 'image.encrypted', found: expect.stringContaining('layer 1 (') });
    const { layers, appraisal } = await world.decrypt({ allowPlainLayers: true });
    expect(layers.map(({ digest }) => digest)).toEqual(world.digests);
    expect(appraisal.checks[1]).toMatchObject({ id: 'image.encrypted', status: 'not-asked' });
  });

  it('refuses to encrypt twice, and what is no layer', async () => {
    const { secret } = await encrypted();
    const from = await OciLayout.open(secret);
    const to = await OciLayout.create(join(secret, '..', 'twice'));
    const options = { from, to, key: kek(), keyId, random: systemRandom };
    await expect(encryptImage(options)).rejects.toMatchObject({
      code: 'invalid-argument',
      argument: 'layer',
    });
    await expect(encryptImage({ ...options, layers: [7] })).rejects.toMatchObject({ argument: 'layer' });
    await expect(encryptImage({ ...options, provider: 'a b' })).rejects.toMatchObject({
      argument: 'provider',
    });
    await expect(encryptImage({ ...options, image: 'other' })).rejects.toMatchObject({
      argument: 'image',
      hint: expect.stringContaining('latest'),
    });
  });

  it('leaves nothing behind when a layer of the original is not what the manifest says', async () => {
    const folder = temporaryFolder();
    const plain = join(folder, 'plain');
    const [, second] = makeOciImage(plain, { layers: [randomBytes(10), randomBytes(10)] });
    truncateSync(blobPath(plain, second!), 20);
    const [from, to] = [await OciLayout.open(plain), await OciLayout.create(join(folder, 'out'))];
    await expect(encryptImage({ from, to, key: kek(), keyId, random: systemRandom })).rejects.toMatchObject({
      code: 'malformed',
      field: `blob ${second}`,
    });
    expect(readdirSync(join(folder, 'out/blobs/sha256'))).toEqual([]);
  });

  it('is described without keys', async () => {
    const { secret, result } = await encrypted({ count: 2 }, { layers: [1] });
    const { manifest, layers } = await inspectImage(await OciLayout.open(secret), 'latest');
    expect(manifest).toBe(result.manifest.digest);
    expect(layers.map(({ encryption }) => encryption?.keys)).toEqual([
      undefined,
      [{ provider: 'attestation-agent', keyId: 'kbs:///acme/image-key/web' }],
    ]);
  });
});

it('the layer cipher undoes itself, however the layer is cut into pieces', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(300), fc.nat(300), (content, first, second) => {
      const [key, nonce] = [kek(), new Uint8Array(16).fill(0xff)];
      const cut = (at: number) => [content.subarray(0, at), content.subarray(at)];
      const [one, other] = [layerEncryption(key, nonce), layerDecryption(key, nonce)];
      const secret = Buffer.concat(cut(first).map((piece) => one.update(piece)));
      const pieces = [secret.subarray(0, second), secret.subarray(second)];
      const plain = Buffer.concat(pieces.map((piece) => other.update(piece)));
      expect(new Uint8Array(plain)).toEqual(content);
      expect(other.finish()).toEqual(one.finish());
    }),
  );
});

describe('a host that keeps the image', () => {
  const layerOf = (folder: string, index = 0): TestDescriptor => manifestOf(folder).layers[index]!;
  const replaced = (layer: TestDescriptor, folder: string, change: (blob: Buffer) => Uint8Array) =>
    Object.assign(layer, putBlob(folder, change(readFileSync(blobPath(folder, layer.digest)))));
  const editPacket = (layer: TestDescriptor, change: (packet: Record<string, string>) => void) => {
    const packet = JSON.parse(new TextDecoder().decode(fromBase64(layer.annotations![packetName]!)));
    change(packet);
    layer.annotations![packetName] = toBase64(new TextEncoder().encode(JSON.stringify(packet)));
  };
  const flip = (blob: Buffer) => {
    blob[100]! ^= 1;
    return blob;
  };

  it('cuts off a layer: refused at layer.digest; with a manifest to match, at layer.hmac', async () => {
    const world = await encrypted();
    const { digest } = layerOf(world.secret, 1);
    const whole = readFileSync(blobPath(world.secret, digest));
    writeFileSync(blobPath(world.secret, digest), whole.subarray(0, 1000));
    expect(await refusedAt(world, world.decrypt())).toMatchObject({
      id: 'layer.digest',
      found: expect.stringMatching(/^layer 1 \(.*: 1000 bytes/),
    });
    writeFileSync(blobPath(world.secret, digest), Buffer.concat([whole, randomBytes(2 ** 21)]));
    expect((await refusedAt(world, world.decrypt())).found).toMatch(/: more bytes$/);
    writeFileSync(blobPath(world.secret, digest), whole);
    editManifest(world.secret, ({ layers }) => {
      replaced(layers[1]!, world.secret, (blob) => blob.subarray(0, 1000));
    });
    expect(await refusedAt(world, world.decrypt())).toMatchObject({ id: 'layer.hmac' });
  });

  it('flips a bit: refused at layer.digest, layer.hmac; with an HMAC of its own, still', async () => {
    const world = await encrypted();
    const { digest } = layerOf(world.secret);
    const whole = readFileSync(blobPath(world.secret, digest));
    writeFileSync(blobPath(world.secret, digest), flip(Buffer.from(whole)));
    expect(await refusedAt(world, world.decrypt())).toMatchObject({ id: 'layer.digest' });
    writeFileSync(blobPath(world.secret, digest), whole);
    editManifest(world.secret, ({ layers }) => replaced(layers[0]!, world.secret, flip));
    expect(await refusedAt(world, world.decrypt())).toMatchObject({ id: 'layer.hmac' });
    editManifest(world.secret, ({ layers }) => {
      const blob = readFileSync(blobPath(world.secret, layers[0]!.digest));
      const hmac = createHash('sha256').update(blob).digest('base64');
      const options = { cipher: 'AES_256_CTR_HMAC_SHA256', hmac, cipheroptions: {} };
      layers[0]!.annotations![optionsName] = Buffer.from(JSON.stringify(options)).toString('base64');
    });
    expect(await refusedAt(world, world.decrypt())).toMatchObject({ id: 'layer.hmac' });
  });

  it('alters the HMAC that stands in the manifest: refused at layer.hmac, and not told the right one', async () => {
    const world = await encrypted();
    const right = new TextDecoder().decode(fromBase64(layerOf(world.secret).annotations![optionsName]!));
    editManifest(world.secret, ({ layers }) => {
      const options = { ...JSON.parse(right), hmac: toBase64(new Uint8Array(32)) };
      layers[0]!.annotations![optionsName] = Buffer.from(JSON.stringify(options)).toString('base64');
    });
    const check = await refusedAt(world, world.decrypt());
    expect(check).toMatchObject({ id: 'layer.hmac' });
    expect(JSON.stringify(check)).not.toContain(
      Buffer.from(JSON.parse(right).hmac, 'base64').toString('hex'),
    );
  });

  it('gives options in the open, or none: they are not read', async () => {
    for (const options of [
      {
        cipher: 'AES_256_CTR_HMAC_SHA256',
        hmac: toBase64(new Uint8Array(32)),
        cipheroptions: { nonce: 'AAAA' },
      },
      { cipher: 'NONE', hmac: toBase64(new Uint8Array(32)), cipheroptions: {} },
      undefined,
    ]) {
      const world = await encrypted();
      editManifest(world.secret, ({ layers }) => {
        const text = Buffer.from(JSON.stringify(options ?? '')).toString('base64');
        if (options === undefined) delete layers[0]!.annotations![optionsName];
        else layers[0]!.annotations![optionsName] = text;
      });
      await expect(world.decrypt()).rejects.toBeInstanceOf(MalformedError);
      expect(readdirSync(join(world.opened, 'blobs/sha256'))).toEqual([]);
    }
  });

  it('alters the packet: refused at layer.key', async () => {
    const world = await encrypted();
    editManifest(world.secret, ({ layers }) =>
      editPacket(layers[1]!, (packet) => {
        const wrapped = fromBase64(packet['wrapped_data']!);
        wrapped[3]! ^= 1;
        packet['wrapped_data'] = toBase64(wrapped);
      }),
    );
    expect(await refusedAt(world, world.decrypt())).toMatchObject({
      id: 'layer.key',
      found: expect.stringMatching(/^layer 1 /),
    });
  });

  it('points a packet at the key of another owner: refused at layer.key-id, or at layer.key', async () => {
    const world = await encrypted();
    editManifest(world.secret, ({ layers }) =>
      editPacket(layers[0]!, (packet) => {
        packet['kid'] = 'kbs:///mallory/image-key/web';
      }),
    );
    const asked: string[] = [];
    const openPacket = openPacketsWith(async (name) => {
      asked.push(name);
      return Secret.take(new Uint8Array(32).fill(8));
    });
    expect(await refusedAt(world, world.decrypt({ openPacket, repositories: ['acme'] }))).toMatchObject({
      id: 'layer.key-id',
      found: expect.stringMatching(/^layer 0 .*: mallory$/),
    });
    expect(asked).toEqual([]);
    expect(await refusedAt(world, world.decrypt({ openPacket }))).toMatchObject({ id: 'layer.key' });
    expect(asked).toEqual(['kbs:///mallory/image-key/web']);
  });

  it('takes the packet of one layer to another: refused at layer.hmac', async () => {
    const world = await encrypted();
    editManifest(world.secret, ({ layers: [one, other] }) => {
      one!.annotations![packetName] = other!.annotations![packetName]!;
    });
    expect(await refusedAt(world, world.decrypt())).toMatchObject({ id: 'layer.hmac' });
  });

  it('puts in a layer in plain text: refused at image.encrypted', async () => {
    const world = await encrypted();
    editManifest(world.secret, ({ layers }) => {
      const mediaType = 'application/vnd.oci.image.layer.v1.tar';
      layers.push({ mediaType, ...putBlob(world.secret, randomBytes(100)) });
    });
    expect(await refusedAt(world, world.decrypt())).toMatchObject({ id: 'image.encrypted' });
    editManifest(world.secret, ({ layers }) => layers.splice(0));
    expect(await refusedAt(world, world.decrypt())).toMatchObject({ found: 'no layer' });
  });

  it('puts in a layer of its own under a key that opens: content refused unless its digest is in the packet', async () => {
    const world = await encrypted({ count: 1 });
    const key = Secret.take(new Uint8Array(32).fill(9));
    const [nonce, content] = [new Uint8Array(16), randomBytes(50)];
    const cipher = layerEncryption(key, nonce);
    const blob = cipher.update(content);
    const { hmac } = cipher.finish();
    const digest = `sha256:${'00'.repeat(32)}`;
    const text = JSON.stringify({
      symkey: toBase64(new Uint8Array(32).fill(9)),
      digest,
      cipheroptions: { nonce: toBase64(nonce) },
    });
    const layerOptions = Secret.take(new TextEncoder().encode(text));
    const packet = annotationPacketBytes(await wrapLayerOptions({ key: kek(), keyId, layerOptions }));
    editManifest(world.secret, ({ layers }) => {
      Object.assign(layers[0]!, putBlob(world.secret, blob));
      const options = { cipher: 'AES_256_CTR_HMAC_SHA256', hmac: toBase64(hmac), cipheroptions: {} };
      layers[0]!.annotations = {
        [packetName]: toBase64(packet),
        [optionsName]: Buffer.from(JSON.stringify(options)).toString('base64'),
      };
    });
    expect(await refusedAt(world, world.decrypt())).toMatchObject({
      id: 'layer.content',
      expected: digest,
      found: expect.stringContaining(digestOf(content)),
    });
  });

  it('changes the configuration or the order: only the expected manifest shows it', async () => {
    const world = await encrypted();
    const manifest = world.result.manifest.digest;
    expect((await world.decrypt({ manifest })).appraisal.checks[0]).toMatchObject({ status: 'pass' });
    editManifest(world.secret, (changed) => {
      changed.layers.reverse();
      Object.assign(changed.config, putBlob(world.secret, new TextEncoder().encode('{}')));
    });
    const { layers } = await world.decrypt();
    expect(layers.map(({ digest }) => digest)).toEqual(world.digests.toReversed());
    for (const file of readdirSync(join(world.opened, 'blobs/sha256')))
      rmSync(join(world.opened, 'blobs/sha256', file));
    expect(await refusedAt(world, world.decrypt({ manifest }))).toMatchObject({
      id: 'image.manifest',
      expected: manifest,
    });
  });

  it('names a blob outside the folder, or a manifest that is another: not read', async () => {
    const world = await encrypted();
    editManifest(world.secret, ({ layers }) => {
      layers[0]!.digest = 'sha256:../../../../etc/passwd';
    });
    await expect(world.decrypt()).rejects.toMatchObject({ field: '/layers/0/digest' });
    const other = await encrypted();
    const { manifests } = JSON.parse(readFileSync(join(other.secret, 'index.json'), 'utf8'));
    const path = blobPath(other.secret, manifests[0].digest);
    writeFileSync(path, readFileSync(path, 'utf8').replace('amd', 'arm').concat(' '));
    await expect(other.decrypt()).rejects.toMatchObject({ structure: 'image layout' });
  });

  it('lists several recipients: the one that opens is enough, and what a key service says comes through', async () => {
    const world = await encrypted();
    editManifest(world.secret, ({ layers }) => {
      const right = layers[0]!.annotations![packetName]!;
      editPacket(layers[0]!, (packet) => {
        packet['kid'] = 'kbs:///acme/image-key/old';
        packet['iv'] = toBase64(new Uint8Array(12));
      });
      layers[0]!.annotations![packetName] += `,${right}`;
    });
    expect((await world.decrypt()).layers).toHaveLength(2);
    const openPacket = openPacketsWith(async (name) => {
      throw name.endsWith('old') ? new LayerKeyError(name) : new Error('no access');
    });
    await expect(world.decrypt({ openPacket })).rejects.toThrow('no access');
  });
});

describeWithVectors('kbs/image/oci-encrypted', () => {
  const folder = 'kbs/image/oci-encrypted';
  const transcriptKek = () => Secret.take(new Uint8Array(createHash('sha256').update('kek').digest()));

  it('what skopeo encrypted through a key provider decrypts to the plain layer', async () => {
    const from = await OciLayout.open(vectorPath(`${folder}/encrypted`));
    const opened = join(temporaryFolder(), 'opened');
    const { layers } = await decryptImage({
      from,
      to: await OciLayout.create(opened),
      as: 'latest',
      openPacket: openWith(transcriptKek),
    });
    const plain = manifestOf(vectorPath(`${folder}/plain`));
    expect(layers.map(({ digest }) => digest)).toEqual(plain.layers.map(({ digest }) => digest));
    expect(readFileSync(blobPath(opened, layers[0]!.digest))).toEqual(
      readFileSync(vectorPath(`${folder}/plain/blobs/sha256/${layers[0]!.digest.slice(7)}`)),
    );
    expect(manifestOf(opened)).toEqual(plain);
  });

  it('opens under no other key', async () => {
    const from = await OciLayout.open(vectorPath(`${folder}/encrypted`));
    const opened = join(temporaryFolder(), 'opened');
    const to = await OciLayout.create(opened);
    const refused = await refusedAt({ opened }, decryptImage({ from, to, openPacket: openWith(kek) }));
    expect(refused.id).toBe('layer.key');
    const { manifest } = await from.image();
    expect(manifest.layers.every(isEncryptedLayer)).toBe(true);
    expect(parseAnnotationPacket(fromBase64(manifest.layers[0]!.annotations![packetName]!)).kid).toBe(
      'kbs:///default/key/1',
    );
  });
});
