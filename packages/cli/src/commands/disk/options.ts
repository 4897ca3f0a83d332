import { InvalidArgumentError, openSecret, Secret, systemRandom } from '@vouchsafe/sev';
import { type OutputFile, writeOutputs } from '../../frame/files.js';
import { hex, parsed } from '../../frame/options.js';

/** What tells a volume from others that its key may open. */
export const bindingOption = hex(
  '--binding <hex>',
  'what `disk create` printed: only that volume is opened. Take it from a measured place, such as the command line',
  32,
);

const units: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

/** A number of bytes, or of K, M, G or T of them. */
export const sizeOption = (flags: string, help: string) =>
  parsed<number>(flags, `${help}: bytes, or with K, M, G or T`, (given, name) => {
    const [, digits = '', unit = ''] = /^(\d{1,15})([KMGT]?)$/i.exec(given) ?? [];
    const size = Number(digits) * (units[unit.toUpperCase()] ?? 1);
    if (digits !== '' && Number.isSafeInteger(size)) return size;
    throw new InvalidArgumentError(
      name,
      `expected a size such as 512M, found ${JSON.stringify(given.slice(0, 60))}`,
    );
  });

/** OWASP's number for PBKDF2 with SHA-256: a key that somebody brought may be a pass-phrase that can be guessed. */
export const roundsForGivenKeys = 600_000;

/** Makes a random key of 32 bytes and writes it, readable by its owner only. */
export async function generateKey(
  path: string,
): Promise<{ readonly key: Secret; readonly file: OutputFile }> {
  const key = Secret.take(systemRandom(32));
  const file = { path, bytes: openSecret(key), secret: true };
  await writeOutputs([file], { overwrite: false });
  return { key, file };
}
