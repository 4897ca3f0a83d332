import { fromHex, InvalidArgumentError, idKeyDigest, type P384PrivateKey } from '@vouchsafe/sev';
import type { Io } from '../../frame/io.js';
import { readPrivateKey, readPublicKey } from '../../frame/key-files.js';
import { parsed, path, repeated, required } from '../../frame/options.js';

/** Options of the commands that sign. */
export const signingOptions = {
  idKey: required(path('--id-key <file>', 'private key that signs the ID block: P-384, PEM or DER')),
  authorKey: path(
    '--author-key <file>',
    'private key that signs the ID key; firmware of old refuses an ID block without one',
  ),
};

/** Runs `work` with the keys, and wipes them. */
export async function withSigningKeys<T>(
  files: { readonly idKey: string; readonly authorKey: string | undefined },
  io: Io,
  work: (keys: { readonly idKey: P384PrivateKey; readonly authorKey?: P384PrivateKey }) => Promise<T>,
): Promise<T> {
  const opened: P384PrivateKey[] = [];
  const open = async (file: string, name: string) => {
    const key = await readPrivateKey(file, name, io);
    opened.push(key);
    return key;
  };
  try {
    const idKey = await open(files.idKey, '--id-key');
    if (files.authorKey === undefined) return await work({ idKey });
    return await work({ idKey, authorKey: await open(files.authorKey, '--author-key') });
  } finally {
    for (const { scalar } of opened) scalar.zero();
  }
}

const digests = (flags: string, whose: string) =>
  repeated(
    parsed(
      flags,
      `digests of ${whose} to accept: 48 bytes in hexadecimal, several with commas between`,
      readDigests,
    ),
  );
const keyFiles = (flags: string, whose: string) =>
  repeated(path(flags, `${whose} to accept: a file with a public key, a certificate or a private key`));

/** Options that name the keys to accept, as go-sev-guest's `check` names them. */
export const trustedKeyOptions = {
  trustedIdKeyHashes: digests('--trusted-id-key-hashes <hex>', 'ID keys'),
  trustedIdKeys: keyFiles('--trusted-id-keys <file>', 'ID key'),
  trustedAuthorKeyHashes: digests('--trusted-author-key-hashes <hex>', 'author keys'),
  trustedAuthorKeys: keyFiles('--trusted-author-keys <file>', 'author key'),
};

export interface TrustedKeyInputs {
  readonly trustedIdKeyHashes: readonly (readonly Uint8Array[])[];
  readonly trustedIdKeys: readonly string[];
  readonly trustedAuthorKeyHashes: readonly (readonly Uint8Array[])[];
  readonly trustedAuthorKeys: readonly string[];
}

/** The digests that the options name; undefined where they name none, so that it is not asked. */
export async function readTrustedKeys(inputs: TrustedKeyInputs, io: Io) {
  const idKeys = await keyDigests(inputs.trustedIdKeys, '--trusted-id-keys', io);
  const authorKeys = await keyDigests(inputs.trustedAuthorKeys, '--trusted-author-keys', io);
  return {
    idKeyDigests: unlessEmpty([...inputs.trustedIdKeyHashes.flat(), ...idKeys]),
    authorKeyDigests: unlessEmpty([...inputs.trustedAuthorKeyHashes.flat(), ...authorKeys]),
  };
}

async function keyDigests(files: readonly string[], name: string, io: Io): Promise<Uint8Array[]> {
  const made: Uint8Array[] = [];
  for (const file of files) made.push(await idKeyDigest(await readPublicKey(file, name, io)));
  return made;
}

function readDigests(given: string, name: string): readonly Uint8Array[] {
  return given.split(',').map((each) => {
    const digest = fromHex(each.trim().replace(/^0x/i, ''), name);
    if (digest.length === 48) return digest;
    throw new InvalidArgumentError(name, `expected 48 bytes each, found ${digest.length}`);
  });
}

const unlessEmpty = <T>(list: readonly T[]) => (list.length === 0 ? undefined : list);
