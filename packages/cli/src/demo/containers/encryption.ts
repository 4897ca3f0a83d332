import { spawn } from 'node:child_process';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { encryptImage, inspectImage, OciLayout, serveKeyProvider } from '@vouchsafe/guest';
import { keyIdText, keyProvider, type ResourcePath } from '@vouchsafe/protocol';
import { openSecret, Secret, systemRandom } from '@vouchsafe/sev';
import { imageName } from './sample-image.js';

export interface ImageToEncrypt {
  /** OCI layouts. */
  readonly from: string;
  readonly to: string;
  /** The owner's own, for what is needed on the way. */
  readonly folder: string;
  readonly key: Secret;
  readonly keyId: ResourcePath;
}

/**
 * Encrypts the sample image: with skopeo, which asks this process's key provider to wrap each layer's key, where there is
 * one that knows key providers; otherwise as `vouchsafe image encrypt` does.
 * @returns by what, for people
 */
export async function encryptSampleImage(image: ImageToEncrypt): Promise<string> {
  if (await encryptWithSkopeo(image)) return 'skopeo, through the owner’s key provider';
  await rm(image.to, { recursive: true, force: true });
  await encryptImage({
    from: await OciLayout.open(image.from),
    to: await OciLayout.create(image.to),
    as: imageName,
    key: image.key,
    keyId: image.keyId,
    random: systemRandom,
  });
  return 'vouchsafe image encrypt: no skopeo that knows key providers is installed';
}

async function encryptWithSkopeo({ from, to, folder, key, keyId }: ImageToEncrypt): Promise<boolean> {
  const provider = keyProvider({
    keyToWrap: async () => ({ keyId, key: Secret.copyOf(openSecret(key)) }),
  });
  const served = await serveKeyProvider(provider, '127.0.0.1:0', { users: [] });
  try {
    const config = join(folder, 'ocicrypt.json');
    const name = 'attestation-agent';
    await writeFile(config, JSON.stringify({ 'key-providers': { [name]: { grpc: served.place } } }));
    const words = ['--encryption-key', `provider:${name}:keyid=${keyIdText(keyId)}`];
    const places = [`oci:${from}:${imageName}`, `oci:${to}:${imageName}`];
    if (!(await hasRun('skopeo', ['copy', '--insecure-policy', ...words, ...places], config))) return false;
    // Versions that know no key providers have been seen to copy in plain text.
    const { layers } = await inspectImage(await OciLayout.open(to), imageName);
    return layers.every(({ encryption }) => encryption !== undefined);
  } finally {
    await served.close();
  }
}

/** Whether a program is there and ended well. */
function hasRun(program: string, words: readonly string[], config: string): Promise<boolean> {
  return new Promise((resolve) => {
    const env = { ...process.env, OCICRYPT_KEYPROVIDER_CONFIG: config };
    const child = spawn(program, words, { env, stdio: 'ignore' });
    child.on('error', () => resolve(false));
    child.on('close', (status) => resolve(status === 0));
  });
}
