import { setTimeout as wait } from 'node:timers/promises';
import type { AttestationDevice, KeyBrokerClient } from '@vouchsafe/guest';
import { type TeeKeyKind, teeKeyKinds } from '@vouchsafe/protocol';
import { InvalidArgumentError } from '@vouchsafe/sev';
import { readInput } from '../../../frame/files.js';
import type { Io } from '../../../frame/io.js';
import { choice, hex, path, repeated, text } from '../../../frame/options.js';
import type { Progress } from '../../../frame/progress.js';
import { attestationDevice } from '../attestation/device.js';

/** How a guest knows its key broker, and what it shows it. */
export const keyBrokerOptions = {
  ca: path('--ca <file>', 'PEM file of the only authorities that may vouch for the broker’s name'),
  fingerprint: hex(
    '--fingerprint <hex>',
    'SHA-256 of the broker’s TLS certificate, in place of authorities',
    32,
  ),
  tokenKeys: repeated(
    text(
      '--token-key <thumbprint>',
      'thumbprint (RFC 7638) of a key that the broker’s tokens may be signed with',
    ),
  ),
  device: attestationDevice,
  initData: path('--init-data <file>', 'the init-data (TOML) that HOST_DATA was made from'),
  keyKind: choice('--key-kind <kind>', 'kind of the key that the secret is sealed to', teeKeyKinds),
};

export interface KeyBrokerInputs {
  readonly broker: string;
  readonly ca: string | undefined;
  readonly fingerprint: Uint8Array | undefined;
  readonly tokenKeys: readonly string[];
  readonly device: () => AttestationDevice;
  readonly initData: string | undefined;
  readonly keyKind: TeeKeyKind | undefined;
}

/** Opens the device, lends the broker's client to `work`, and closes the device. */
export async function withKeyBroker<T>(
  { broker, ca, fingerprint, tokenKeys, initData, keyKind, ...inputs }: KeyBrokerInputs,
  { io, progress }: { readonly io: Io; readonly progress: Progress },
  work: (client: KeyBrokerClient) => Promise<T>,
): Promise<T> {
  const { connectKeyBroker } = await import('@vouchsafe/guest');
  const device = inputs.device();
  let client: KeyBrokerClient | undefined;
  try {
    client = connectKeyBroker({
      address: broker,
      device,
      trust: {
        ...(ca === undefined ? {} : { authorities: await textFile(ca, 'authorities', io) }),
        ...(fingerprint === undefined ? {} : { certificateFingerprint: fingerprint }),
      },
      ...(initData === undefined ? {} : { initData: await textFile(initData, 'init-data', io) }),
      ...(tokenKeys.length === 0 ? {} : { tokenKeys }),
      ...(keyKind === undefined ? {} : { keyKind }),
      now: () => performance.now(),
      pause: async (milliseconds) => {
        progress.step(`the broker is busy or away; trying again in ${milliseconds / 1000} seconds`);
        await wait(milliseconds);
      },
    });
    return await work(client);
  } finally {
    await client?.close();
    await device.close();
  }
}

/** A file of text. @throws InvalidArgumentError for bytes that are none */
export async function textFile(file: string, what: string, io: Io): Promise<string> {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(await readInput(file, what, io));
  } catch (error) {
    if (error instanceof TypeError) throw new InvalidArgumentError(what, `${file} is not text`);
    throw error;
  }
}
