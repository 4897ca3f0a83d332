import { z } from 'zod';
import { teeKeySchema } from '../jose/tee-key.js';
import type { JsonValue } from '../json/strict-json.js';
import { message } from '../message.js';
import { type ResourcePath, resourcePathText } from './resource-path.js';

/**
 * The request-challenge-attestation-response protocol (RCAR) of Trustee's key broker, version 0.4.0, in order: the guest
 * asks ({@link rcarRequest}), the broker answers with a nonce ({@link rcarChallenge}), the guest sends evidence that binds
 * the nonce and a key of its own ({@link rcarAttestation}), the broker answers with a token ({@link rcarToken}). Both
 * sides pass over members that they do not know, as their peers do: what the protocol does not name is not bound by
 * anything, and so says nothing.
 */
export const rcarVersion = '0.4.0';

/** Largest body of a request, in bytes; Trustee's own limit. */
export const largestRcarRequest = 2 * 1024 * 1024;

/** Largest body of an answer that a guest reads, in bytes: a sealed secret of 1 MiB with room around it. */
export const largestRcarAnswer = 2 * 1024 * 1024;

/** The cookie that carries the session's id from the challenge on. */
export const rcarCookie = 'kbs-session-id';

/** What every path of the protocol begins with. */
export const rcarPrefix = '/kbs/v0';

export const rcarPaths = {
  auth: `${rcarPrefix}/auth`,
  attest: `${rcarPrefix}/attest`,
  resource: `${rcarPrefix}/resource`,
} as const;

const anObject = { error: 'expected an object' };
const text = (greatest: number) => {
  const error = `expected text of at most ${greatest} characters`;
  return z.string({ error }).max(greatest, { error });
};
/** Any JSON: what it means is another structure's business. */
const anyJson = z.custom<JsonValue>((value) => value !== undefined, { error: 'expected a value' });

/** Guest to broker, POST `/auth`. Whether version and kind are served, the broker says; both are only text here. */
export const rcarRequest = message(
  'attestation request',
  z.object(
    {
      version: text(64).min(1, { error: 'expected a version' }),
      /** One of `teeNames`, or an earlier spelling. */
      tee: text(64).min(1, { error: 'expected the name of a TEE' }),
      /** Free JSON. Today's clients list the hashes that they know; older ones send text. */
      'extra-params': anyJson.optional(),
    },
    anObject,
  ),
);
export type RcarRequest = ReturnType<typeof rcarRequest.parse>;

const nonceError = 'expected base64 of 32 bytes';
/** The 44 characters as they travel: they, not the 32 bytes, are what the evidence binds. */
const nonce = z
  .string({ error: nonceError })
  .regex(/^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/, { error: nonceError });

/** Broker to guest, with the session's cookie. */
export const rcarChallenge = message(
  'attestation challenge',
  z.object({ nonce, 'extra-params': anyJson.optional() }, anObject),
);
export type RcarChallenge = ReturnType<typeof rcarChallenge.parse>;

/** What the guest binds into its evidence: `canonicalRuntimeData` says how. */
const runtimeData = z.object({ nonce, 'tee-pubkey': teeKeySchema }, anObject);

/** Guest to broker, POST `/attest`, with the session's cookie. */
export const rcarAttestation = message(
  'attestation',
  z.object(
    {
      /** The text that HOST_DATA is the digest of. */
      'init-data': z
        .object(
          { format: z.literal('toml', { error: 'expected toml' }), body: text(largestRcarRequest) },
          anObject,
        )
        .nullish(),
      'runtime-data': runtimeData,
      'tee-evidence': z.object(
        {
          /** Of the TEE's own shape: for SEV-SNP, `parseSnpEvidence` reads it. */
          primary_evidence: anyJson,
          /** Of devices, as text: empty, or a JSON object. */
          additional_evidence: text(largestRcarRequest),
        },
        anObject,
      ),
    },
    anObject,
  ),
);
export type RcarAttestation = ReturnType<typeof rcarAttestation.parse>;
export type RcarRuntimeData = RcarAttestation['runtime-data'];

const tokenError = 'expected a compact JWS';
/** Broker to guest: the attestation token. */
export const rcarToken = message(
  'attestation answer',
  z.object(
    {
      token: z
        .string({ error: tokenError })
        .max(512 * 1024, { error: tokenError })
        .regex(/^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*$/, { error: tokenError }),
    },
    anObject,
  ),
);
export type RcarToken = ReturnType<typeof rcarToken.parse>;

/** Where one resource is fetched. */
export function rcarResourcePath({ repository, type, tag }: ResourcePath): string {
  return `${rcarPaths.resource}/${resourcePathText({ repository, type, tag })}`;
}
