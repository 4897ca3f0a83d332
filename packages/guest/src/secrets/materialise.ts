import { chmod, mkdir, open, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { InvalidArgumentError, openSecret, UnavailableError } from '@vouchsafe/sev';
import { folderSecretStore } from './folder-store.js';
import type { SecretStore } from './secret-store.js';

/**
 * Writes the secrets of a store as files: one for each, named by its GUID, mode 0440, in a folder of mode 0700 that is
 * made here or is empty. Put it on a tmpfs.
 *
 * The difference from Linux's own folder: an ordinary file system does not tell anyone when a file is unlinked, so `rm`
 * removes the file and leaves the secret in guest memory. Unlink through the store that this gives: it overwrites and
 * removes the file, and wipes the secret where it was injected.
 * @throws InvalidArgumentError when the folder has something in it; it is then left as it is
 * @throws UnavailableError when the folder or a file cannot be made; no secret is left in it then
 */
export async function materialise(store: SecretStore, folder: string): Promise<SecretStore> {
  await makeFolder(folder);
  const written: string[] = [];
  try {
    for (const guid of await store.list()) {
      const secret = await store.read(guid);
      const path = join(folder, guid);
      written.push(path);
      await writeSecret(path, openSecret(secret)).finally(() => secret.zero());
    }
  } catch (error) {
    for (const path of written) await rm(path, { force: true });
    throw error;
  }
  const files = folderSecretStore(folder);
  return {
    list: files.list,
    read: files.read,
    async unlink(guid) {
      const secret = await files.read(guid);
      const { length } = secret;
      secret.zero();
      await overwrite(join(folder, guid.toLowerCase()), length);
      await files.unlink(guid);
      await store.unlink(guid);
    },
  };
}

async function makeFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    // Looked into before its mode is changed: a folder that was named by mistake stays as it is.
    if ((await readdir(folder)).length > 0)
      throw new InvalidArgumentError('secrets folder', `${folder} is not empty`);
    await chmod(folder, 0o700);
  } catch (cause) {
    if (cause instanceof InvalidArgumentError) throw cause;
    throw new UnavailableError('secrets folder', `${folder} cannot be made`, { cause });
  }
}

async function writeSecret(path: string, bytes: Uint8Array): Promise<void> {
  try {
    const file = await open(path, 'wx', 0o440);
    try {
      await file.writeFile(bytes);
      await file.chmod(0o440);
    } finally {
      await file.close();
    }
  } catch (cause) {
    throw new UnavailableError('secret', `${path} cannot be written`, { cause });
  }
}

async function overwrite(path: string, length: number): Promise<void> {
  await chmod(path, 0o640);
  const file = await open(path, 'r+');
  try {
    await file.write(new Uint8Array(length), 0, length, 0);
    await file.sync();
  } finally {
    await file.close();
  }
}
