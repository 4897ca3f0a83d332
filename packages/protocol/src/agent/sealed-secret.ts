import { fromBase64, InvalidArgumentError, MalformedError } from '@vouchsafe/sev';
import { z } from 'zod';
import { base64UrlText, fromBase64Url } from '../jose/base64url.js';
import { message } from '../message.js';

/**
 * Sealed secrets of Confidential Containers: what stands in a pod's specification in the place of a secret. After
 * `sealed.` a compact JWS (RFC 7515): whoever holds the signing key says where the secret is, or how it is encrypted.
 */

/** Longest sealed secret, in characters. */
export const largestSealedSecretText = 2 * 1024 * 1024;
const prefix = 'sealed.';
const anObject = { error: 'expected an object' };
const text = (greatest: number) => {
  const error = `expected text of 1 to ${greatest} characters`;
  return z.string({ error }).min(1, { error }).max(greatest, { error });
};

/** The protected header. A reader that passed over a member could pass over one that it has to heed. */
export const sealedSecretHeader = message(
  'header of a sealed secret in a specification',
  z.strictObject(
    {
      alg: z.literal('ES256', { error: 'expected ES256' }),
      /** Where the public key is: `kbs:///repository/type/tag`, or the name of a file that the agent keeps. */
      kid: text(1024),
      typ: text(64).exactOptional(),
    },
    { error: (issue) => (issue.code === 'unrecognized_keys' ? 'no such member' : 'expected an object') },
  ),
);
export type SealedSecretHeader = ReturnType<typeof sealedSecretHeader.parse>;

const version = z.literal('0.1.0', { error: 'expected 0.1.0' });
const settings = z.record(z.string(), z.unknown(), anObject);
const provider = text(64);
/** Base64, not decoded here: published samples hold placeholders. */
const base64Text = text(largestSealedSecretText);

/** What is signed: a pointer to a secret, or a secret that is encrypted. */
export const sealedSecretContent = message(
  'sealed secret of a specification',
  z.discriminatedUnion(
    'type',
    [
      z.object({
        version,
        type: z.literal('vault'),
        /** With the provider `kbs`, the address of a resource. */
        name: text(1024),
        provider,
        provider_settings: settings,
        annotations: settings,
      }),
      z.object({
        version,
        type: z.literal('envelope'),
        /** The key that the content key is wrapped with. */
        key_id: text(1024),
        encrypted_key: base64Text,
        encrypted_data: base64Text,
        wrap_type: z.literal('A256GCM', { error: 'expected A256GCM' }),
        iv: base64Text,
        provider,
        provider_settings: settings,
        annotations: settings,
      }),
    ],
    { error: 'expected "vault" or "envelope"' },
  ),
);
export type SealedSecretContent = ReturnType<typeof sealedSecretContent.parse>;

/** A sealed secret whose signature nobody has verified yet. */
export interface SealedSecretParts {
  readonly header: SealedSecretHeader;
  /** What the signature covers. */
  readonly signingInput: Uint8Array;
  /** r ‖ s, 64 bytes. */
  readonly signature: Uint8Array;
  /** Read it after the signature was verified: {@link parseSealedSecretContent}. */
  readonly content: Uint8Array;
}

/**
 * Takes `sealed.HEADER.PAYLOAD.SIGNATURE` apart.
 * @throws MalformedError for another form, another algorithm than ES256, and header members that are not known
 */
export function parseSealedSecret(text: string): SealedSecretParts {
  if (text.length > largestSealedSecretText)
    refuse('/', `at most ${largestSealedSecretText} characters`, `${text.length}`);
  if (!text.startsWith(prefix)) refuse('/', `text that begins with ${prefix}`, 'something else');
  const parts = text.slice(prefix.length).split('.', 4);
  const [head, payload, signed] = parts;
  if (parts.length !== 3 || head === undefined || payload === undefined || signed === undefined)
    return refuse('/', 'header, payload and signature', `${parts.length} parts`);
  const header = sealedSecretHeader.parseBytes(bytesOf('header', head));
  const signature = bytesOf('signature', signed);
  if (signature.length !== 64) refuse('signature', '64 bytes', `${signature.length}`);
  return {
    header,
    signingInput: new TextEncoder().encode(`${head}.${payload}`),
    signature,
    content: bytesOf('payload', payload),
  };
}

/** Reads what was signed. @throws MalformedError */
export function parseSealedSecretContent(content: Uint8Array): SealedSecretContent {
  return sealedSecretContent.parseBytes(content);
}

const anyKeyMembers = { error: 'expected a JWK' };
/** The public key that sealed secrets are verified with: a JWK on P-256. A private half, where it stands beside, is not read. */
export const sealedSecretKey = message(
  'key of sealed secrets',
  z.object(
    {
      kty: z.literal('EC', { error: 'expected EC' }),
      crv: z.literal('P-256', { error: 'expected P-256' }),
      x: base64UrlText(32),
      y: base64UrlText(32),
      alg: z.literal('ES256', { error: 'expected ES256' }).exactOptional(),
      use: z.literal('sig', { error: 'expected sig' }).exactOptional(),
    },
    anyKeyMembers,
  ),
);
export type SealedSecretKey = ReturnType<typeof sealedSecretKey.parse>;

/** Whether a signature (ES256, RFC 7518 section 3.4) is of this key; false for a key that is off its curve. */
export async function isSealedBy(
  { signingInput, signature }: SealedSecretParts,
  key: SealedSecretKey,
): Promise<boolean> {
  const { subtle } = globalThis.crypto;
  const { kty, crv, x, y } = key;
  try {
    const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
    const imported = await subtle.importKey('jwk', { kty, crv, x, y }, algorithm, false, ['verify']);
    return await subtle.verify(algorithm, imported, signature.slice(), signingInput.slice());
  } catch {
    return false;
  }
}

/** Bytes of a base64 member of an envelope. @throws MalformedError */
export function sealedBytes(member: string, given: string): Uint8Array {
  try {
    return fromBase64(given);
  } catch (error) {
    if (error instanceof InvalidArgumentError) return refuse(member, 'base64', 'something else');
    throw error;
  }
}

function bytesOf(part: string, given: string): Uint8Array {
  try {
    return fromBase64Url(given);
  } catch (error) {
    if (error instanceof InvalidArgumentError)
      return refuse(part, 'base64url without padding', 'something else');
    throw error;
  }
}

function refuse(field: string, expected: string, found: string): never {
  throw new MalformedError({ structure: sealedSecretContent.name, field, offset: 0, expected, found });
}
