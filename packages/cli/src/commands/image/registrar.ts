import { keyIdText, type ResourcePath, resourcePathText } from '@vouchsafe/protocol';
import { InvalidArgumentError, openSecret, type Secret, toBase64 } from '@vouchsafe/sev';
import type { Io } from '../../frame/io.js';
import { type ClientInput, connectBroker } from '../broker/client.js';
import { type SecretAnswer, secretUrl } from '../broker/secret/path.js';

/** Where new keys are stored so that guests find them. */
export interface KeyRegistrar {
  /** Whether something is stored there already; `unknown` where the service does not tell. */
  isTaken(path: ResourcePath): Promise<boolean | 'unknown'>;
  /** Resolves when the key is stored, and only then. */
  store(path: ResourcePath, key: Secret): Promise<void>;
}

/** Through the administrators' API of a Vouchsafe broker. */
export async function brokerRegistrar(input: ClientInput, io: Io): Promise<KeyRegistrar> {
  const broker = await connectBroker(input, io);
  return {
    async isTaken(path) {
      const name = resourcePathText(path);
      return (await broker.ask<SecretAnswer[]>('GET', '/secrets')).some((secret) => secret.path === name);
    },
    async store(path, key) {
      await broker.ask('PUT', secretUrl(path), { content: toBase64(openSecret(key)) });
    },
  };
}

/**
 * Stores a key under an id that nothing has yet: a newer version would hide the key that older images are wrapped with.
 * @throws InvalidArgumentError when the id is taken
 */
export async function storeNewKey(registrar: KeyRegistrar, path: ResourcePath, key: Secret): Promise<void> {
  if ((await registrar.isTaken(path)) === true) {
    throw new InvalidArgumentError('key id', `the broker has something at ${keyIdText(path)} already`, {
      hint: 'choose another id; if that is the key and you have it in a file, use it without storing it again',
    });
  }
  await registrar.store(path, key);
}

/** Where Confidential Containers' key provider puts the keys that it makes itself. */
export function newKeyId(uuid: string): ResourcePath {
  return { repository: 'default', type: 'image-kek', tag: uuid };
}
