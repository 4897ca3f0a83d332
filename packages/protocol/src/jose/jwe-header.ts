import { z } from 'zod';
import { message } from '../message.js';
import { base64UrlText } from './base64url.js';

/** The sender's ephemeral key; its members stand in the order in which they are written. */
const ephemeralKey = <C extends string>(curve: C, size: number) =>
  z.strictObject({
    crv: z.literal(curve),
    kty: z.literal('EC', { error: 'expected EC' }),
    x: base64UrlText(size),
    y: base64UrlText(size),
  });
const enc = z.literal('A256GCM', { error: 'expected A256GCM' });

/**
 * The protected header of a sealed secret. Trustee's clients serialise it again before they check it: `alg`, `enc`, then
 * the other members by name, so it is declared and written in that order.
 */
export const jweHeader = message(
  'header of a sealed secret',
  z.discriminatedUnion(
    'alg',
    [
      z.strictObject({
        alg: z.literal('ECDH-ES+A256KW'),
        enc,
        epk: z.discriminatedUnion('crv', [ephemeralKey('P-256', 32), ephemeralKey('P-521', 66)], {
          error: 'expected P-256 or P-521',
        }),
      }),
      z.strictObject({ alg: z.literal('RSA-OAEP-256'), enc }),
    ],
    { error: 'expected ECDH-ES+A256KW or RSA-OAEP-256' },
  ),
);
export type JweHeader = ReturnType<typeof jweHeader.parse>;
