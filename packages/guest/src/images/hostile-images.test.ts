import { createHash, randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { annotationPacketBytes, LayerKeyError, wrapLayerOptions } from '@vouchsafe/protocol';
import { fromBase64, MalformedError, Secret, toBase64 } from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import { encrypted, kek, keyId, optionsName, packetName, refusedAt } from '../testing/encrypted-image.js';
import {
  blobPath,
  digestOf,
  editManifest,
  manifestOf,
  putBlob,
  type TestDescriptor,
} from '../testing/oci-image.js';
import { openPacketsWith } from './decrypt-image.js';
import { layerEncryption } from './layer-cipher.js';

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
