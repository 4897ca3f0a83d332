import { randomUUID } from 'node:crypto';
import { offlineTable } from '@vouchsafe/guest';
import { type KeyProvider, keyProvider, wrappingKeySize } from '@vouchsafe/protocol';
import { InvalidArgumentError, Secret, systemRandom } from '@vouchsafe/sev';
import { readInput, readSecret } from '../../../frame/files.js';
import type { Io } from '../../../frame/io.js';
import { choice, flag, grouped, path, text } from '../../../frame/options.js';
import { clientOptions } from '../../broker/data-folder.js';
import { brokerRegistrar, type KeyRegistrar } from '../registrar.js';
import { type OwnerKeys, ownerKeys } from './owner-keys.js';
import { trusteeRegistrar } from './trustee-registrar.js';

/** Both forms of the key provider. */
export const keyProviderOptions = {
  register: flag('--register', 'store new keys with a Vouchsafe broker, as its administrator'),
  keys: path(
    '--keys <file>',
    'keys that exist: JSON of key ids and keys in base64, as offline_fs_kbc has it',
  ),
  packets: choice('--packets <version>', 'version of the packets in the image (default: 1)', [
    '1',
    '2',
  ] as const),
  ...grouped('For --register', clientOptions),
  ...grouped('For a Trustee broker', {
    trustee: text('--trustee <url>', 'store new keys with this one, over its own protocol'),
    adminToken: path('--admin-token <file>', 'file with an administrator’s token of Trustee'),
    adminKey: path('--admin-key <file>', 'Ed25519 key in PEM that signs such tokens, two hours each'),
    adminRole: text('--admin-role <name>', 'role that those tokens claim; without it, none'),
  }),
};

export interface KeyProviderInput {
  readonly register: boolean;
  readonly keys: string | undefined;
  readonly packets: '1' | '2' | undefined;
  readonly data: string;
  readonly broker: string | undefined;
  readonly token: string | undefined;
  readonly ca: string | undefined;
  readonly trustee: string | undefined;
  readonly adminToken: string | undefined;
  readonly adminKey: string | undefined;
  readonly adminRole: string | undefined;
}

export interface OwnerKeyProvider {
  readonly provider: KeyProvider;
  readonly keys: OwnerKeys;
}

/** The key provider of whoever encrypts. */
export async function openKeyProvider(input: KeyProviderInput, io: Io): Promise<OwnerKeyProvider> {
  const registrar = await registrarOf(input, io);
  const table = input.keys === undefined ? undefined : await tableOf(input.keys, io);
  const keys = ownerKeys({
    registrar,
    table,
    readKey: (file) => readSecret(file, 'keypath', io, [wrappingKeySize]),
    newKey: () => Secret.take(systemRandom(wrappingKeySize)),
    newUuid: randomUUID,
  });
  return { keys, provider: keyProvider(keys, { packetVersion: input.packets === '2' ? 2 : 1 }) };
}

async function registrarOf(input: KeyProviderInput, io: Io): Promise<KeyRegistrar | undefined> {
  const { register, trustee } = input;
  if (trustee === undefined) return register ? brokerRegistrar(input, io) : undefined;
  if (register) throw new InvalidArgumentError('--trustee', 'give --register or --trustee: one of the two');
  return trusteeRegistrar({ ...input, trustee }, io, () => Date.now());
}

async function tableOf(file: string, io: Io) {
  const table = Secret.take(await readInput(file, '--keys', io));
  try {
    return offlineTable(table, { name: file, keysOnly: true });
  } finally {
    table.zero();
  }
}
