import { idKeyDigest, toBase64, toHex } from '@vouchsafe/sev';
import { command, type Result } from '../../frame/command.js';
import { readPublicKey } from '../../frame/key-files.js';
import { argument, choice, withDefault } from '../../frame/options.js';

export const keyDigest = command({
  description:
    'Prints the digest by which reports name an ID key or author key: SHA-384 of the key in the firmware’s form of 1028 ' +
    'bytes.',
  arguments: { key: argument('key', 'a public key, a certificate or a private key on P-384: PEM or DER') },
  options: {
    outputFormat: withDefault(
      choice('--output-format <format>', 'how to print it', ['hex', 'base64'] as const),
      'hex',
    ),
  },
  examples: [{ line: 'id-block key-digest id.pem', explains: 'for --trusted-id-key-hashes' }],
  async run({ key, outputFormat }, { io }): Promise<Result> {
    const digest = await idKeyDigest(await readPublicKey(key, 'key', io));
    return {
      exit: 0,
      json: { digest: toHex(digest), base64: toBase64(digest) },
      render: (screen) => screen.line(outputFormat === 'hex' ? toHex(digest) : toBase64(digest)),
    };
  },
});
