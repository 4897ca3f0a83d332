import { generateKeyPairSync } from 'node:crypto';
import { idKeyDigest, toHex } from '@vouchsafe/sev';
import { command, type Result } from '../../frame/command.js';
import { describeOutput, writeOutputs } from '../../frame/files.js';
import { readPublicKey } from '../../frame/key-files.js';
import { argument, flag } from '../../frame/options.js';

export const generateKey = command({
  description:
    'Makes a private key on P-384 for an ID key or an author key (PEM, PKCS #8). Keep it away from the hosts: whoever has ' +
    'it can sign for your guests.',
  arguments: { file: argument('file', 'where to write it') },
  options: { force: flag('--force', 'replace a key that exists') },
  examples: [{ line: 'id-block generate-key id.pem', explains: 'once for a family of guests' }],
  async run({ file, force }, { io }): Promise<Result> {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'secp384r1' });
    const bytes = Buffer.from(privateKey.export({ type: 'pkcs8', format: 'pem' }));
    const output = { path: file, bytes, secret: true };
    await writeOutputs([output], { overwrite: force }).finally(() => bytes.fill(0));
    const digest = toHex(await idKeyDigest(await readPublicKey(file, 'key', io)));
    return {
      exit: 0,
      json: { digest, files: [describeOutput(output)] },
      render(screen) {
        screen.line(`Wrote ${file} (keep it secret)`);
        screen.line(`Its digest in reports: ${digest}`);
      },
    };
  },
});
