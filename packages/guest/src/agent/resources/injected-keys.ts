import { wellKnownSecretGuids } from '@vouchsafe/sev';
import { type SecretStore, takeSecret } from '../../secrets/secret-store.js';
import { offlineTable } from './offline-table.js';
import type { AgentResources } from './resources.js';

/**
 * The keys that the owner injected at launch for this agent (offline_sev_kbc of Confidential Containers): the entry
 * e6f5a162-d67f-4750-a67c-5d065f2a9910 of the secret table. The entry is wiped as soon as it was read, so that nothing that
 * is started later finds it; its keys live on in this process.
 * @returns undefined when no such entry was injected
 * @throws MalformedError when it is not what it has to be: it is wiped then as well
 * @throws UnavailableError when the store cannot be read
 */
export async function takeInjectedKeys(store: SecretStore): Promise<AgentResources | undefined> {
  const { offlineKeys } = wellKnownSecretGuids;
  if (!(await store.list()).includes(offlineKeys)) return undefined;
  const table = await takeSecret(store, offlineKeys);
  try {
    return offlineTable(table, { name: 'injected keys', keysOnly: true });
  } finally {
    table.zero();
  }
}
