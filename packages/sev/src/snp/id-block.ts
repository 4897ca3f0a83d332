import { isZero } from '../bytes.js';
import type { Location } from '../codec/field.js';
import { bitsField, bytesField, named, nested, reserved, u32 } from '../codec/fields.js';
import { structure } from '../codec/structure.js';
import {
  digest,
  type EcdsaSignature,
  type P384PrivateKey,
  type P384PublicKey,
  signP384,
} from '../crypto/index.js';
import { MalformedError } from '../errors.js';
import { ecdsaSignature, ecPublicKey } from '../legacy/certificate.js';
import { parseSnpGuestPolicy, type SnpGuestPolicy, snpGuestPolicyBits } from './guest-policy.js';

const source = 'SEV-SNP firmware ABI, SNP_LAUNCH_FINISH';

/** What an owner signs beforehand: the launch digest and policy that a guest must have, and who it is. */
export const idBlock = structure(
  { name: 'ID block', size: 0x60, source },
  {
    launchDigest: bytesField(0x00, 48, 'launch digest that the guest must have'),
    familyId: bytesField(0x30, 16, 'family of the guest, as its owner counts'),
    imageId: bytesField(0x40, 16, 'image of the guest, as its owner counts'),
    version: u32(0x50, 'version of this format', { equals: 1 }),
    guestSvn: u32(0x54, 'security version of the guest, as its owner counts'),
    policy: bitsField(0x58, snpGuestPolicyBits, 'guest policy that the guest must have'),
  },
);

/** How the keys of an ID block sign. `none`: there is no such key. */
export const idKeyAlgorithms = { none: 0, 'ECDSA-P384-SHA384': 1 } as const;

const noSignature = { r: new Uint8Array(48), s: new Uint8Array(48) };

/** The signatures of an ID block: its own by the ID key, and the ID key's by an author key, if there is one. */
export const idAuthentication = structure(
  { name: 'ID authentication information', size: 0x1000, source },
  {
    idKeyAlgorithm: named(0x000, 4, idKeyAlgorithms, 'how the ID key signs'),
    authorKeyAlgorithm: named(0x004, 4, idKeyAlgorithms, 'how the author key signs'),
    reserved008: reserved(0x008, 56),
    idBlockSignature: nested(0x040, ecdsaSignature, 'signature of the ID block by the ID key'),
    idKey: nested(0x240, ecPublicKey, 'ID key'),
    reserved644: reserved(0x644, 60),
    idKeySignature: nested(
      0x680,
      ecdsaSignature,
      'signature of the ID key by the author key; zero without one',
    ),
    authorKey: bytesField(0x880, 0x404, 'author key; zero without one'),
    reservedC84: reserved(0xc84, 892),
  },
);

export interface IdBlock {
  /** 48 bytes. */
  readonly launchDigest: Uint8Array;
  /** 16 bytes. */
  readonly familyId: Uint8Array;
  /** 16 bytes. */
  readonly imageId: Uint8Array;
  readonly guestSvn: number;
  readonly policy: SnpGuestPolicy;
  /** The 96 bytes, which the ID key signs. */
  readonly raw: Uint8Array;
}

export interface IdAuthentication {
  readonly idKey: P384PublicKey;
  readonly idBlockSignature: EcdsaSignature;
  readonly author?: { readonly key: P384PublicKey; readonly idKeySignature: EcdsaSignature };
  /** The 4096 bytes. */
  readonly raw: Uint8Array;
}

/**
 * Reads an ID block.
 * @param bytes 96 bytes
 * @throws MalformedError for another length or version, and for a policy that firmware refuses
 */
export function parseIdBlock(
  bytes: Uint8Array,
  location: Location = { offset: 0, path: 'ID block' },
): IdBlock {
  const { launchDigest, familyId, imageId, guestSvn, raw } = idBlock.parse(bytes, location);
  const policyAt = idBlock.offsetOf('policy');
  const policy = parseSnpGuestPolicy(new DataView(raw.buffer).getBigUint64(policyAt, true), {
    offset: location.offset + policyAt,
    path: `${location.path ?? idBlock.name}, policy`,
  });
  return { launchDigest, familyId, imageId, guestSvn, policy, raw };
}

/**
 * Reads ID authentication information. Without an author key, its algorithm may be `none` or stand: tools differ.
 * @param bytes 4096 bytes
 * @throws MalformedError for another length, no ID key, and half an author
 */
export function parseIdAuthentication(
  bytes: Uint8Array,
  location: Location = { offset: 0, path: 'ID authentication information' },
): IdAuthentication {
  const fields = idAuthentication.parse(bytes, location);
  const { authorKey, idKeySignature } = fields;
  const place = (field: 'idKeyAlgorithm' | 'authorKeyAlgorithm' | 'idKeySignature' | 'authorKey') => ({
    offset: location.offset + idAuthentication.offsetOf(field),
    path: `${location.path ?? idAuthentication.name}, ${field}`,
  });
  const refuse = (field: Parameters<typeof place>[0], expected: string, found: string) => {
    const { offset } = place(field);
    const structureName = location.path ?? idAuthentication.name;
    throw new MalformedError({ structure: structureName, field, offset, expected, found });
  };
  if (fields.idKeyAlgorithm === 'none') refuse('idKeyAlgorithm', 'an algorithm', 'none');
  const signatures = { idKey: pointOf(fields.idKey), idBlockSignature: pairOf(fields.idBlockSignature) };
  if (isZero(authorKey)) {
    if (!isZero(idKeySignature.r) || !isZero(idKeySignature.s))
      refuse('idKeySignature', 'zero, as there is no author key', 'a signature');
    return { ...signatures, raw: fields.raw };
  }
  if (fields.authorKeyAlgorithm === 'none')
    refuse('authorKeyAlgorithm', 'an algorithm, as there is an author key', 'none');
  const key = pointOf(ecPublicKey.parse(authorKey, place('authorKey')));
  return { ...signatures, author: { key, idKeySignature: pairOf(idKeySignature) }, raw: fields.raw };
}

/** What an ID block says, in the values that owners choose. */
export interface NewIdBlock {
  /** 48 bytes. */
  readonly launchDigest: Uint8Array;
  /** 16 bytes; zero without one. */
  readonly familyId?: Uint8Array;
  /** 16 bytes; zero without one. */
  readonly imageId?: Uint8Array;
  /** 0 without one. */
  readonly guestSvn?: number;
  /** 0x30000 without one: multithreading allowed, everything else that can be forbidden is. */
  readonly policy?: bigint;
}

/**
 * The 96 bytes of an ID block.
 * @throws InvalidArgumentError for a value of another length
 * @throws MalformedError for a policy that firmware refuses
 */
export function buildIdBlock(values: NewIdBlock): Uint8Array {
  const { launchDigest, familyId, imageId, guestSvn = 0, policy = 0x30000n } = values;
  return idBlock.build({
    launchDigest,
    familyId: familyId ?? new Uint8Array(16),
    imageId: imageId ?? new Uint8Array(16),
    guestSvn,
    policy: parseSnpGuestPolicy(policy),
  });
}

export interface IdBlockKeys {
  readonly idKey: P384PrivateKey;
  /** Vouches for the ID key, so that owners may renew that. Old firmware refuses an ID block without an author key. */
  readonly authorKey?: P384PrivateKey | undefined;
}

/**
 * Signs an ID block.
 * @param block 96 bytes
 * @returns the ID authentication information, 4096 bytes
 * @throws MalformedError when `block` is none
 */
export async function signIdBlock(block: Uint8Array, { idKey, authorKey }: IdBlockKeys): Promise<Uint8Array> {
  const { raw } = parseIdBlock(block);
  const author = authorKey && {
    authorKeyAlgorithm: 'ECDSA-P384-SHA384' as const,
    idKeySignature: await signP384(authorKey, 'sha384', signedBytesOfIdKey(idKey.publicKey)),
    authorKey: signedBytesOfIdKey(authorKey.publicKey),
  };
  return idAuthentication.build({
    idKeyAlgorithm: 'ECDSA-P384-SHA384',
    authorKeyAlgorithm: 'none',
    idBlockSignature: await signP384(idKey, 'sha384', raw),
    idKey: { curve: 2, ...idKey.publicKey },
    idKeySignature: noSignature,
    authorKey: new Uint8Array(ecPublicKey.size),
    ...author,
  });
}

/** An ID block and its authentication information, ready for SNP_LAUNCH_FINISH. @throws as the two steps do */
export async function createIdBlock(
  values: NewIdBlock & IdBlockKeys,
): Promise<{ readonly idBlock: Uint8Array; readonly idAuthentication: Uint8Array }> {
  const block = buildIdBlock(values);
  return { idBlock: block, idAuthentication: await signIdBlock(block, values) };
}

/** The digest by which reports name an ID key or an author key: SHA-384 of its 0x404 bytes. 48 bytes. */
export async function idKeyDigest(key: P384PublicKey): Promise<Uint8Array> {
  return digest('sha384', signedBytesOfIdKey(key));
}

/** What an author signs: the ID key in its 0x404 bytes. */
export function signedBytesOfIdKey({ x, y }: P384PublicKey): Uint8Array {
  return ecPublicKey.build({ x, y });
}

const pointOf = ({ x, y }: P384PublicKey): P384PublicKey => ({ x, y });
const pairOf = ({ r, s }: EcdsaSignature): EcdsaSignature => ({ r, s });
