import {
  buildSecretTable,
  type Guid,
  InvalidArgumentError,
  largestSecretPacket,
  type Secret,
  wellKnownSecretGuids,
} from '@vouchsafe/sev';

/** One entry of the table that the guest finds in its memory. */
export interface LaunchSecret {
  readonly guid: Guid;
  readonly data: Secret;
}

/** The disk pass-phrase of a LUKS volume, under the GUID that grub and initrd scripts look for. */
export function diskKey(data: Secret): LaunchSecret {
  return { guid: wellKnownSecretGuids.luksKey, data };
}

/**
 * The table in the form that is encrypted for the processor, padded to 16 bytes.
 * @throws InvalidArgumentError for no secrets, two of one GUID, the zero GUID, or more than one packet holds
 */
export function secretTable(secrets: readonly LaunchSecret[]): Secret {
  if (secrets.length === 0) throw new InvalidArgumentError('secrets', 'expected at least one to release');
  const table = buildSecretTable(secrets);
  if (table.length > largestSecretPacket) {
    table.zero();
    throw new InvalidArgumentError(
      'secrets',
      `their table has ${table.length} bytes; a packet holds ${largestSecretPacket}`,
    );
  }
  return table;
}
