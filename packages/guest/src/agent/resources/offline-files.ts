import { type FileHandle, open } from 'node:fs/promises';
import { Secret, UnavailableError } from '@vouchsafe/sev';
import { offlineTable } from './offline-table.js';
import { type AgentResources, resourcesFrom } from './resources.js';

/** Where Confidential Containers' offline_fs_kbc looks. An image that has them must be measured, and kept from the host. */
export const offlineFiles = {
  keys: '/etc/aa-offline_fs_kbc-keys.json',
  resources: '/etc/aa-offline_fs_kbc-resources.json',
} as const;

const largestFile = 8 * 1024 * 1024;

/**
 * Keys and resources in files of the guest's own image.
 * @throws UnavailableError when neither is there or one cannot be read; MalformedError as `offlineTable`
 */
export async function readOfflineFiles(
  files: { readonly keys: string; readonly resources: string } = offlineFiles,
): Promise<AgentResources> {
  const found: AgentResources[] = [];
  for (const [path, keysOnly] of [
    [files.keys, true],
    [files.resources, false],
  ] as const) {
    const content = await readIfThere(path);
    if (content === undefined) continue;
    const table = Secret.take(content);
    try {
      found.push(offlineTable(table, { name: path, keysOnly }));
    } finally {
      table.zero();
    }
  }
  if (found.length === 0)
    throw new UnavailableError('offline secrets', `neither ${files.keys} nor ${files.resources} is there`);
  return resourcesFrom(found);
}

async function readIfThere(path: string): Promise<Uint8Array | undefined> {
  let file: FileHandle;
  try {
    file = await open(path, 'r');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new UnavailableError('offline secrets', `${path} cannot be read`, { cause });
  }
  try {
    const { size } = await file.stat();
    if (size > largestFile)
      throw new UnavailableError('offline secrets', `${path} has more than ${largestFile} bytes`);
    return new Uint8Array(await file.readFile());
  } finally {
    await file.close();
  }
}
