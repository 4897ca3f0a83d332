import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { openSecret, UnavailableError } from '@vouchsafe/sev';
import { type AgentResources, requireResource } from '../resources/resources.js';
import { credentialsFolder, type DataHubSettings } from './data-hub.js';

/**
 * Fetches what the data hub's settings want in files when the guest starts, each mode 0600.
 * @param folder in the place of `/run/confidential-containers/cdh/kbs`
 * @returns the paths that were written
 * @throws whatever the source of the secrets says; UnavailableError when a file cannot be written
 */
export async function fetchCredentials(
  credentials: NonNullable<DataHubSettings['credentials']>,
  resources: AgentResources,
  folder: string = credentialsFolder,
): Promise<string[]> {
  const written: string[] = [];
  for (const { path: named, resource_uri: address } of credentials) {
    const path = join(folder, named.slice(credentialsFolder.length + 1));
    const secret = await requireResource(resources, address);
    const beside = `${path}.new`;
    try {
      await mkdir(dirname(path), { recursive: true, mode: 0o700 });
      await writeFile(beside, openSecret(secret), { mode: 0o600, flag: 'wx' });
      await rename(beside, path);
      written.push(path);
    } catch (cause) {
      await rm(beside, { force: true });
      throw new UnavailableError('credential', `${path} cannot be written`, { cause });
    } finally {
      secret.zero();
    }
  }
  return written;
}
