import { guidToBytes, InvalidArgumentError, Secret, wellKnownSecretGuids } from '@vouchsafe/sev';
import { readInput } from '../../frame/files.js';
import type { Io } from '../../frame/io.js';

/** Names that may stand for a GUID; `luks-key` is the one of virt-qemu-sev-validate. */
const aliases: Readonly<Record<string, string>> = { 'luks-key': wellKnownSecretGuids.luksKey };

export interface SecretEntry {
  readonly guid: string;
  readonly data: Secret;
}

/**
 * Reads one `GUID:FILE` of `--secret`. The secret is the whole file, its last line break included.
 * @throws InvalidArgumentError
 */
export async function readSecretEntry(given: string, io: Io): Promise<SecretEntry> {
  const colon = given.indexOf(':');
  if (colon < 1 || colon === given.length - 1) {
    throw new InvalidArgumentError('--secret', 'expected GUID:FILE', {
      hint: 'the secret is read from a file, so that it stands on no command line; luks-key stands for the disk key’s GUID',
    });
  }
  const name = given.slice(0, colon);
  const guid = (Object.hasOwn(aliases, name) ? aliases[name]! : name).toLowerCase();
  guidToBytes(guid);
  const content = await readInput(given.slice(colon + 1), 'secret', io);
  return { guid, data: Secret.take(content) };
}
