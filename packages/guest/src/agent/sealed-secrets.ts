import { lstat, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  isSealedBy,
  parseSealedSecret,
  parseSealedSecretContent,
  type SealedSecretContent,
  sealedBytes,
  sealedSecretKey,
} from '@vouchsafe/protocol';
import {
  aes256GcmOpen,
  MalformedError,
  openSecret,
  Secret,
  UnavailableError,
  VouchsafeError,
} from '@vouchsafe/sev';
import { type AgentResources, requireResource } from './resources/resources.js';

/** Where Confidential Containers keeps keys of sealed secrets that were put there when the guest started. */
const sealedSecretKeysFolder = '/run/confidential-containers/cdh/sealed-secret';

const tagSize = 16;
const ivSize = 12;
const keySize = 32;
const none = new Uint8Array();
const largestKeyFile = 16 * 1024;

/** The sealed secret was read, and it is not what the owner signed, or does not open. */
export class SealedSecretRefusedError extends VouchsafeError {
  readonly code = 'sealed-secret-refused';
}

export interface UnsealOptions {
  readonly resources: AgentResources;
  /** Folder of the verification keys that are not named by an address. */
  readonly keysFolder?: string;
}

type Envelope = Extract<SealedSecretContent, { type: 'envelope' }>;

/**
 * The secret that a sealed one stands for, for the caller to zero. The signature is verified always, before anything of
 * the content is believed: the host writes the pod's specification, so that a sealed secret without a signature would be
 * the host's choice of secret.
 * @throws SealedSecretRefusedError for a signature that is not the key's, and an envelope that does not open
 * @throws MalformedError for another form; UnavailableError for a provider other than `kbs`; whatever the source of the
 * secrets says of the key and the secret
 */
export async function unsealSecret(text: string, options: UnsealOptions): Promise<Secret> {
  const parts = parseSealedSecret(text);
  const { kid } = parts.header;
  const key = await verificationKey(kid, options);
  if (!(await isSealedBy(parts, key))) {
    throw new SealedSecretRefusedError(`the sealed secret is not signed by ${shown(kid)}`, {
      hint: 'it was altered, or signed with another key: seal it again, and check the public key that the guest is given',
    });
  }
  const content = parseSealedSecretContent(parts.content);
  if (content.provider !== 'kbs') {
    throw new UnavailableError('sealed secret', `this guest knows no provider ${shown(content.provider)}`, {
      hint: 'seal the secret for the provider kbs: a vault whose name is kbs:///repository/type/tag, or an envelope whose key is one',
    });
  }
  if (content.type === 'vault') return requireResource(options.resources, content.name);
  return openEnvelope(content, options.resources);
}

/**
 * The owner's key opens the content key (AES-256-GCM, its IV in `annotations.iv`), which opens the data. With the provider
 * `kbs` Confidential Containers defines no envelope; theirs of other providers keep an IV in the same place.
 */
async function openEnvelope(envelope: Envelope, resources: AgentResources): Promise<Secret> {
  const wrapped = ciphertextOf('encrypted_key', envelope.encrypted_key);
  const data = ciphertextOf('encrypted_data', envelope.encrypted_data);
  const iv = ivOf('iv', envelope.iv);
  const keyIv = ivOf('annotations/iv', envelope.annotations['iv']);
  const key = await requireResource(resources, envelope.key_id);
  try {
    if (key.length !== keySize) refuseToOpen(envelope);
    const contentKey = await aes256GcmOpen(key, keyIv, none, wrapped.ciphertext, wrapped.tag);
    if (contentKey?.length !== keySize) return refuseToOpen(envelope);
    const opened = await aes256GcmOpen(contentKey, iv, none, data.ciphertext, data.tag).finally(() =>
      contentKey.fill(0),
    );
    return opened === undefined ? refuseToOpen(envelope) : Secret.take(opened);
  } finally {
    key.zero();
  }
}

function refuseToOpen({ key_id }: Envelope): never {
  throw new SealedSecretRefusedError(`the envelope does not open under ${shown(key_id)}`, {
    hint: 'it was sealed with another key: seal it again',
  });
}

async function verificationKey(kid: string, { resources, keysFolder }: UnsealOptions) {
  const json = /^kbs(?:\+[a-z0-9-]+)?:/.test(kid)
    ? await requireResource(resources, kid)
    : await readKeyFile(keysFolder ?? sealedSecretKeysFolder, kid);
  try {
    return sealedSecretKey.parseText(new TextDecoder().decode(openSecret(json)));
  } finally {
    json.zero();
  }
}

/** A name is one file of the folder: no path, no link out of it. */
async function readKeyFile(folder: string, name: string): Promise<Secret> {
  if (!/^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}$/.test(name)) {
    throw new MalformedError({
      structure: 'header of a sealed secret',
      field: 'kid',
      offset: 0,
      expected: 'kbs:///repository/type/tag, or the name of a file',
      found: 'something else',
    });
  }
  const path = join(folder, name);
  const absent = new SealedSecretRefusedError(`this guest knows no key ${shown(name)}`, {
    hint: `the owner’s public key belongs in ${folder}, or with the key broker under a kbs:/// address`,
  });
  const found = await lstat(path).catch(() => undefined);
  if (found?.isFile() !== true || found.size > largestKeyFile) throw absent;
  try {
    return Secret.take(new Uint8Array(await readFile(path)));
  } catch (cause) {
    throw new UnavailableError('sealed secret', `${path} cannot be read`, { cause });
  }
}

function ciphertextOf(member: string, given: string) {
  const bytes = sealedBytes(member, given);
  if (bytes.length < tagSize) refuse(member, `at least ${tagSize} bytes`, `${bytes.length}`);
  const split = bytes.length - tagSize;
  return { ciphertext: bytes.subarray(0, split), tag: bytes.subarray(split) };
}

function ivOf(member: string, given: unknown): Uint8Array {
  if (typeof given !== 'string') return refuse(member, `base64 of ${ivSize} bytes`, 'something else');
  const bytes = sealedBytes(member, given);
  return bytes.length === ivSize ? bytes : refuse(member, `${ivSize} bytes`, `${bytes.length}`);
}

function refuse(field: string, expected: string, found: string): never {
  throw new MalformedError({
    structure: 'sealed secret of a specification',
    field,
    offset: 0,
    expected,
    found,
  });
}

const shown = (text: string) => JSON.stringify(text.slice(0, 200));
