import { createDecipheriv, createHash, createHmac, randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decryptImage, encryptImage, layerDecryption, OciLayout, openPacketsWith } from '@vouchsafe/guest';
import { openSecret, Secret, systemRandom } from '@vouchsafe/sev';
import type { Benchmark } from './measure.js';

const mebibytes = 64;
const pieceSize = 1024 * 1024;

/**
 * A layer in memory, piece by piece, against the cipher that its name says on the same pieces: AES-256 in counter mode and
 * HMAC-SHA256. Ours also hashes the layer twice, as images want it: the blob and its content.
 */
export async function layerInMemory(): Promise<Omit<Benchmark, 'name'>> {
  const key = Secret.take(systemRandom(32));
  const nonce = systemRandom(16);
  const layer = randomBytes(mebibytes * pieceSize);
  return {
    unit: 'MiB/s',
    amount: mebibytes,
    ours() {
      const cipher = layerDecryption(key, nonce);
      for (let at = 0; at < layer.length; at += pieceSize) cipher.update(layer.subarray(at, at + pieceSize));
      return cipher.finish();
    },
    raw: () => rawCipher(key, nonce, layer),
  };
}

/** An image in a folder, from its manifest to the last check, against the raw cipher of its one layer in memory. */
export async function imageInFolder(): Promise<Omit<Benchmark, 'name'>> {
  const folder = await mkdtemp(join(tmpdir(), 'vouchsafe-bench-'));
  const layer = randomBytes(mebibytes * pieceSize);
  const key = Secret.take(systemRandom(32));
  const plain = await OciLayout.create(join(folder, 'plain'));
  const put = (bytes: Uint8Array) =>
    plain.writeBlob(async (write) => {
      await write(bytes);
      const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
      return { digest, size: bytes.length };
    });
  const config = {
    mediaType: 'application/vnd.oci.image.config.v1+json',
    ...(await put(new TextEncoder().encode('{}'))),
  };
  const layers = [{ mediaType: 'application/vnd.oci.image.layer.v1.tar', ...(await put(layer)) }];
  await plain.putImage({ schemaVersion: 2, config, layers }, 'latest');
  const keyId = { repository: 'bench', type: 'key', tag: '1' };
  const secret = await OciLayout.create(join(folder, 'secret'));
  await encryptImage({ from: plain, to: secret, key, keyId, random: systemRandom });
  const to = await OciLayout.create(join(folder, 'opened'));
  const openPacket = openPacketsWith(async () => Secret.copyOf(openSecret(key)));
  const nonce = systemRandom(16);
  return {
    unit: 'MiB/s',
    amount: mebibytes,
    ours: () => decryptImage({ from: secret, to, as: 'latest', openPacket }),
    raw: () => rawCipher(key, nonce, layer),
    close: () => rm(folder, { recursive: true }),
  };
}

function rawCipher(key: Secret, nonce: Uint8Array, layer: Uint8Array): Uint8Array {
  const bytes = openSecret(key);
  const cipher = createDecipheriv('aes-256-ctr', bytes, nonce);
  const hmac = createHmac('sha256', bytes);
  for (let at = 0; at < layer.length; at += pieceSize) {
    const piece = layer.subarray(at, at + pieceSize);
    hmac.update(piece);
    cipher.update(piece);
  }
  return hmac.digest();
}
