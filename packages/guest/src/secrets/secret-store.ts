import type { Guid, Secret } from '@vouchsafe/sev';

/** As many secrets as Linux's efi_secret shows; entries after these are not listed. */
export const largestSecretCount = 64;

/**
 * The secrets that a guest was given at launch. Two backends: the guest's own memory, and the folder in which Linux
 * shows them (`/sys/kernel/security/secrets/coco`). They behave as that folder does.
 */
export interface SecretStore {
  /** GUIDs of the secrets that are still there, in lower case. */
  list(): Promise<readonly Guid[]>;
  /**
   * A copy, for the caller to zero.
   * @throws UnavailableError when there is no such secret
   */
  read(guid: Guid): Promise<Secret>;
  /**
   * Wipes the secret where it was injected: its data and its name become zeros, and it cannot be read again.
   * @throws UnavailableError when there is no such secret
   */
  unlink(guid: Guid): Promise<void>;
}

/** Reads a secret and wipes it, as a program should that needs it once. */
export async function takeSecret(store: SecretStore, guid: Guid): Promise<Secret> {
  const secret = await store.read(guid);
  try {
    await store.unlink(guid);
  } catch (error) {
    secret.zero();
    throw error;
  }
  return secret;
}
