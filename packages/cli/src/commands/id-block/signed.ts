import { idKeyDigest, type P384PrivateKey, toBase64, toHex } from '@vouchsafe/sev';
import type { Result } from '../../frame/command.js';
import { describeOutput, type OutputFile, writeOutputs } from '../../frame/files.js';
import { path } from '../../frame/options.js';

/** Options that say where a signed ID block goes, beside standard output. */
export const outputOptions = {
  out: path('--out <file>', 'write the ID block to this file, 96 bytes'),
  authOut: path('--auth-out <file>', 'write the ID authentication information to this file, 4096 bytes'),
};

export interface Signed {
  readonly idBlock: Uint8Array;
  readonly idAuthentication: Uint8Array;
  readonly idKey: P384PrivateKey;
  readonly authorKey?: P384PrivateKey;
}

/** What `create` and `sign` print: the properties of QEMU's sev-snp-guest object, and the digests that reports show. */
export async function signedResult(
  signed: Signed,
  outputs: { readonly out?: string | undefined; readonly authOut?: string | undefined },
): Promise<Result> {
  const { idBlock, idAuthentication, idKey, authorKey } = signed;
  const files: OutputFile[] = [];
  if (outputs.out !== undefined) files.push({ path: outputs.out, bytes: idBlock });
  if (outputs.authOut !== undefined) files.push({ path: outputs.authOut, bytes: idAuthentication });
  await writeOutputs(files, { overwrite: true });
  const texts = { idBlock: toBase64(idBlock), idAuth: toBase64(idAuthentication) };
  const enabled = authorKey === undefined ? '' : ',author-key-enabled=on';
  const qemu = `id-block=${texts.idBlock},id-auth=${texts.idAuth}${enabled}`;
  const idKeyHash = toHex(await idKeyDigest(idKey.publicKey));
  const authorKeyHash = authorKey === undefined ? null : toHex(await idKeyDigest(authorKey.publicKey));
  return {
    exit: 0,
    json: {
      ...texts,
      qemu,
      idKeyDigest: idKeyHash,
      authorKeyDigest: authorKeyHash,
      files: files.map(describeOutput),
    },
    render(screen) {
      screen.line(qemu);
      screen.line();
      screen.facts([
        ['ID key digest', idKeyHash],
        ['author key digest', authorKeyHash ?? 'no author key'],
        ...files.map((file): [string, string] => ['wrote', `${file.path}: ${file.bytes.length} bytes`]),
      ]);
    },
  };
}
