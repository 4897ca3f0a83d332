import { constants } from 'node:fs';
import { type FileHandle, open, readdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { type Guid, largestSecretPacket, Secret, UnavailableError } from '@vouchsafe/sev';
import { largestSecretCount, type SecretStore } from './secret-store.js';

/** Where Linux's efi_secret module shows the secrets, in a guest with securityfs mounted. */
export const linuxSecretsFolder = '/sys/kernel/security/secrets/coco';

const guidName = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/**
 * The secrets in a folder with one file for each, named by its GUID. In Linux's own folder unlinking a file wipes the
 * secret in memory; in an ordinary one it does what the file system does.
 */
export function folderSecretStore(folder: string = linuxSecretsFolder): SecretStore {
  async function pathOf(guid: Guid): Promise<string> {
    const name = guid.toLowerCase();
    if (!(await list()).includes(name)) {
      throw new UnavailableError('secret', `there is none of the name ${JSON.stringify(guid)}`);
    }
    return join(folder, name);
  }

  async function list(): Promise<Guid[]> {
    let names: string[];
    try {
      names = await readdir(folder);
    } catch (cause) {
      throw new UnavailableError('secrets', `${folder} cannot be listed`, { cause, hint: hintFor(folder) });
    }
    return names.filter((name) => guidName.test(name)).slice(0, largestSecretCount);
  }

  return {
    list,
    async read(guid) {
      const path = await pathOf(guid);
      const file = await openFile(path);
      try {
        return await readSecret(file, path);
      } finally {
        await file.close();
      }
    },
    async unlink(guid) {
      const path = await pathOf(guid);
      try {
        await unlink(path);
      } catch (cause) {
        throw new UnavailableError('secret', `${path} cannot be removed`, { cause });
      }
    },
  };
}

/** Files of securityfs report a size of 0, so the size is not asked: reading goes on to the end, within the limit. */
async function readSecret(file: FileHandle, path: string): Promise<Secret> {
  const room = new Uint8Array(largestSecretPacket + 1);
  let length = 0;
  for (;;) {
    const bytesRead = await readInto(file, room.subarray(length), path);
    if (bytesRead === 0) break;
    length += bytesRead;
    if (length === room.length) {
      room.fill(0);
      throw new UnavailableError(
        'secret',
        `${path} has more than the ${largestSecretPacket} bytes of a launch secret`,
      );
    }
  }
  const secret = Secret.copyOf(room.subarray(0, length));
  room.fill(0);
  return secret;
}

async function readInto(file: FileHandle, room: Uint8Array, path: string): Promise<number> {
  try {
    return (await file.read(room, 0, room.length)).bytesRead;
  } catch (cause) {
    throw new UnavailableError('secret', `${path} cannot be read`, { cause });
  }
}

async function openFile(path: string): Promise<FileHandle> {
  try {
    return await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (cause) {
    throw new UnavailableError('secret', `${path} cannot be read`, { cause });
  }
}

function hintFor(folder: string): string {
  return folder === linuxSecretsFolder
    ? 'inside a guest: mount securityfs and load the module efi_secret (CONFIG_EFI_SECRET); the firmware must have been given secrets'
    : 'name the folder in which the secrets are';
}
