import { createHash, randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { isEncryptedLayer, parseAnnotationPacket } from '@vouchsafe/protocol';
import { fromBase64, Secret, systemRandom, toBase64 } from '@vouchsafe/sev';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { describeWithVectors, vectorPath } from '../../../sev/src/testing/vectors.js';
import {
  type Compression,
  encrypted,
  kek,
  keyId,
  openWith,
  optionsName,
  packetName,
  refusedAt,
} from '../testing/encrypted-image.js';
import { blobPath, digestOf, editManifest, makeOciImage, manifestOf } from '../testing/oci-image.js';
import { temporaryFolder } from '../testing/temporary.js';
import { decryptImage } from './decrypt-image.js';
import { encryptImage } from './encrypt-image.js';
import { inspectImage } from './inspect-image.js';
import { layerDecryption, layerEncryption } from './layer-cipher.js';
import { OciLayout } from './oci-layout.js';

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

  it('whose layer nobody wrapped a key for is not decrypted', async () => {
    const { secret, decrypt } = await encrypted({ count: 1 });
    editManifest(secret, ({ layers: [layer] }) => delete layer!.annotations![packetName]);
    await expect(decrypt()).rejects.toThrow(/has no key that a key provider wrapped/);
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
