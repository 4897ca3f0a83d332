import { folderSecretStore } from '@vouchsafe/guest';
import { parseResourceAddress } from '@vouchsafe/protocol';
import { InvalidArgumentError, Secret, wellKnownSecretGuids } from '@vouchsafe/sev';
import type { Context } from '../../frame/command.js';
import { readInput } from '../../frame/files.js';
import { grouped, text } from '../../frame/options.js';
import { type KeyBrokerInputs, keyBrokerOptions, withKeyBroker } from '../guest/secrets/broker-options.js';
import { secretsFolder } from '../guest/secrets/secrets-folder.js';

/** How the option of a key is written. */
export const keySourceHelp =
  'a file, - for standard input, injected[:GUID] for a secret that was injected at launch, or kbs:///… for one of a key broker';

/** What the sources of keys need besides their names. */
export const keySourceOptions = {
  folder: secretsFolder,
  ...grouped('For keys of a broker', {
    broker: text('--broker <url>', 'the key broker: https://HOST[:PORT], or http:// on this machine'),
    ...keyBrokerOptions,
  }),
};

export interface KeySourceInputs extends Omit<KeyBrokerInputs, 'broker'> {
  readonly broker: string | undefined;
  readonly folder: string;
}

/** A key, and what to do once it has served. */
export interface DiskKey {
  readonly key: Secret;
  /** Wipes it from where the launch put it; does nothing for a key that is kept elsewhere. */
  wipe(): Promise<void>;
  readonly injected: boolean;
}

/**
 * Gets a key from where the option says. It is never an argument itself, and never written anywhere.
 * @throws InvalidArgumentError, UnavailableError; for brokers as `getResource`
 */
export async function takeKey(
  source: string,
  name: string,
  inputs: KeySourceInputs,
  context: Context,
): Promise<DiskKey> {
  const kept = { injected: false, wipe: async () => undefined };
  if (source.startsWith('kbs:')) {
    const { broker } = inputs;
    if (broker === undefined)
      throw new InvalidArgumentError('--broker', `${name} names a secret of a broker: say where it is`);
    const resource = parseResourceAddress(source);
    const key = await withKeyBroker({ ...inputs, broker }, context, (client) => client.getResource(resource));
    return { key, ...kept };
  }
  const [injected, guid = wellKnownSecretGuids.luksKey] = /^injected(?::(.+))?$/.exec(source) ?? [];
  if (injected !== undefined) {
    const store = folderSecretStore(inputs.folder);
    const entry = guid.toLowerCase();
    return { key: await store.read(entry), injected: true, wipe: () => store.unlink(entry) };
  }
  const content = await readInput(source, name, context.io);
  if (content.length === 0) throw new InvalidArgumentError(name, `${source} is empty`);
  return { key: Secret.take(content), ...kept };
}
