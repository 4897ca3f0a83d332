import { randomBytes } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { type Check, RefusedError, Secret, systemRandom } from '@vouchsafe/sev';
import { expect } from 'vitest';
import { type DecryptImageOptions, decryptImage, openPacketsWith } from '../images/decrypt-image.js';
import { type EncryptImageOptions, encryptImage } from '../images/encrypt-image.js';
import { OciLayout } from '../images/oci-layout.js';
import { makeOciImage } from './oci-image.js';
import { temporaryFolder } from './temporary.js';

export const keyId = { repository: 'acme', type: 'image-key', tag: 'web' };
export const kek = () => Secret.take(new Uint8Array(32).fill(7));
export const openWith = (key: () => Secret) => openPacketsWith(async () => key());
export const packetName = 'org.opencontainers.image.enc.keys.provider.attestation-agent';
export const optionsName = 'org.opencontainers.image.enc.pubopts';

export type Compression = 'none' | 'gzip' | 'zstd';

/** An image, encrypted under the owner’s key, and the way to decrypt it. */
export async function encrypted(
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
export async function refusedAt(world: { opened: string }, decrypting: Promise<unknown>): Promise<Check> {
  const error = await decrypting.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(RefusedError);
  expect(readdirSync(join(world.opened, 'blobs/sha256'))).toEqual([]);
  const { checks } = (error as RefusedError).appraisal;
  return checks.find(({ status }) => status === 'fail')!;
}
