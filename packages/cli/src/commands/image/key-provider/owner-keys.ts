import { keyIdText, type LayerKeys, type ResourcePath } from '@vouchsafe/protocol';
import { constantTimeEqual, InvalidArgumentError, openSecret, Secret } from '@vouchsafe/sev';
import { type KeyRegistrar, newKeyId, storeNewKey } from '../registrar.js';

export interface OwnerKeysOptions {
  /** Stores new keys; without it, only keys that exist are used. */
  readonly registrar?: KeyRegistrar | undefined;
  /** Keys that guests have or will be given, by id. They are not stored anew. */
  readonly table?: { find(name: string): Promise<Secret | undefined> } | undefined;
  /** Reads the file that a tool's user named with `keypath`: 32 bytes. */
  readKey(path: string): Promise<Secret>;
  /** Draws a new key, 32 bytes. */
  newKey(): Secret;
  /** For the ids of keys that were given none. */
  newUuid(): string;
}

export interface OwnerKeys extends Required<LayerKeys> {
  /** Zeroes what was kept. */
  close(): Promise<void>;
}

/**
 * The keys of whoever encrypts images. A key is given out only when guests can find it: a key that cannot be stored, or
 * whose id something else has, makes the container tool fail, instead of an image that nobody can open.
 *
 * Tools ask once for each layer. A key that was made or read for an id is kept, so that all layers of an image have it.
 */
export function ownerKeys({ registrar, table, readKey, newKey, newUuid }: OwnerKeysOptions): OwnerKeys {
  const kept = new Map<string, Promise<Secret>>();

  /** Finds or stores a key once, though several layers may ask at the same time. */
  function keep(keyId: ResourcePath, given: Secret | undefined, isNewId: boolean): Promise<Secret> {
    const name = keyIdText(keyId);
    const before = kept.get(name);
    if (before !== undefined) return before;
    const finding = findOrStore(keyId, given, isNewId).catch((error: unknown) => {
      kept.delete(name);
      throw error;
    });
    kept.set(name, finding);
    return finding;
  }

  async function findOrStore(keyId: ResourcePath, given: Secret | undefined, isNewId: boolean) {
    const found = await table?.find(keyIdText(keyId));
    if (found !== undefined) return found;
    if (registrar === undefined) {
      if (given !== undefined) return copyOf(given);
      throw new InvalidArgumentError('keypath', `there is no key for ${keyIdText(keyId)} here`, {
        hint: 'give keypath=FILE as well, or start the key provider with --register, so that it can store new keys',
      });
    }
    // What cannot be looked up may hold a key that older images need: a new one must not take its place.
    if (given === undefined && !isNewId && (await registrar.isTaken(keyId)) === 'unknown') {
      throw new InvalidArgumentError(
        'keyid',
        'this broker does not tell what it has: a new key could hide one',
        {
          hint: 'give keypath=FILE as well, or leave keyid out to have a new id',
        },
      );
    }
    const key = given === undefined ? newKey() : copyOf(given);
    try {
      await storeNewKey(registrar, keyId, key);
      return key;
    } catch (error) {
      key.zero();
      throw error;
    }
  }

  return {
    async keyToWrap({ keyId, keyPath }) {
      if (keyId === undefined && registrar === undefined) {
        throw new InvalidArgumentError('keyid', 'it has to be given', {
          hint: 'or start the key provider with --register, so that it can store a new key under a new id',
        });
      }
      const path = keyId ?? newKeyId(newUuid());
      const given = keyPath === undefined ? undefined : await readKey(keyPath);
      try {
        const key = await keep(path, given, keyId === undefined);
        if (given !== undefined && !constantTimeEqual(openSecret(given), openSecret(key)))
          throw new InvalidArgumentError('keypath', `another key has the id ${keyIdText(path)} already`);
        return { keyId: path, key: copyOf(key) };
      } finally {
        given?.zero();
      }
    },

    async keyToUnwrap(name) {
      const key = (await kept.get(name)) ?? (await table?.find(name));
      if (key === undefined) {
        throw new InvalidArgumentError(
          'key id',
          `there is no key for ${JSON.stringify(name.slice(0, 200))} here`,
          {
            hint: 'this key provider is for encrypting; guests decrypt with `vouchsafe agent serve`, which asks the broker',
          },
        );
      }
      return copyOf(key);
    },

    async close() {
      const keys = await Promise.allSettled(kept.values());
      for (const each of keys) if (each.status === 'fulfilled') each.value.zero();
      kept.clear();
    },
  };
}

const copyOf = (key: Secret) => Secret.copyOf(openSecret(key));
