import { KeyObject, sign } from 'node:crypto';
import type { RootOfTrust } from '@vouchsafe/sev';
import { errors, type JWTPayload, jwtVerify } from 'jose';
import { TokenRefusedError } from './refused.js';
import type { KeyRing } from './signing-keys.js';
import { statusOf, type TrustVector } from './trust-vector.js';

/** The profile that Trustee's relying parties know; the IETF's own has another name (draft-ietf-rats-ear). */
export const earProfile = 'tag:github.com,2024:confidential-containers/Trustee';

/** What a token says of one attestation. */
export interface EarSubject {
  /** Names the attestation in this broker; whoever holds it cannot speak for the guest. */
  readonly id: string;
  readonly vector: TrustVector;
  /** Name of the rules that the vector was made by. */
  readonly policyId: string;
  readonly root: RootOfTrust | undefined;
  /** Evidence with its meaning, in Trustee's members: `snp`, `report_data`, `runtime_data_claims` and so on. */
  readonly annotatedEvidence: Readonly<Record<string, unknown>>;
  /** Container images that the guest's settings admit, where they say so. */
  readonly identifiers?: Readonly<Record<string, unknown>>;
}

export interface EarIssuer {
  readonly name: string;
  readonly developer: string;
  readonly build: string;
}

/** The claims of a token, ready to be signed. */
export type EarClaims = JWTPayload & { readonly exp: number };

/**
 * The claims of an EAR token (draft-ietf-rats-ear-04) with Trustee's members.
 * @param times milliseconds since 1970; both are cut to whole seconds
 */
export function earClaims(
  subject: EarSubject,
  issuer: EarIssuer,
  times: { readonly now: number; readonly expiresAt: number },
): EarClaims {
  const { id, vector, policyId, root, annotatedEvidence, identifiers = {} } = subject;
  const [iat, exp] = [Math.floor(times.now / 1000), Math.floor(times.expiresAt / 1000)];
  return {
    eat_profile: earProfile,
    iat,
    nbf: iat,
    exp,
    iss: issuer.name,
    jti: id,
    'ear.verifier-id': { developer: issuer.developer, build: issuer.build },
    submods: {
      cpu0: {
        'ear.status': statusOf(vector),
        'ear.trustworthiness-vector': vector,
        'ear.appraisal-policy-id': policyId,
        'ear.trustee.identifiers': { validated: identifiers },
        ...(root === undefined ? {} : { 'ear.vouchsafe.root': root }),
        'ear.veraison.annotated-evidence': annotatedEvidence,
      },
    },
  };
}

/** Signs a token: a compact JWS, ES256, the key named by `kid`. @throws UnavailableError without a signing key */
export async function signEarToken(keys: Pick<KeyRing, 'signer'>, claims: EarClaims): Promise<string> {
  const { kid, key } = await keys.signer();
  const encoded = (part: object) => Buffer.from(JSON.stringify(part)).toString('base64url');
  const signed = `${encoded({ typ: 'JWT', alg: 'ES256', kid })}.${encoded(claims)}`;
  // Here and not in a thread, as jose would have it: handing over costs more than signing.
  const signature = sign('sha256', Buffer.from(signed), {
    key: KeyObject.from(key),
    dsaEncoding: 'ieee-p1363',
  });
  return `${signed}.${signature.toString('base64url')}`;
}

export interface VerifiedToken {
  /** The attestation that the token is about. */
  readonly id: string;
  /** Milliseconds since 1970. */
  readonly expiresAt: number;
  readonly claims: Readonly<Record<string, unknown>>;
}

/** Longest token that is looked at, in characters. */
const longest = 64 * 1024;

/**
 * Verifies a token that this broker signed: ES256 by a key of its own that is still in use. Keys inside the token's
 * header have no say.
 * @param now milliseconds since 1970
 * @throws TokenRefusedError naming the check
 */
export async function verifyEarToken(
  keys: Pick<KeyRing, 'verifier'>,
  token: string,
  issuer: Pick<EarIssuer, 'name'>,
  now: number,
): Promise<VerifiedToken> {
  if (token.length > longest) throw new TokenRefusedError('token.format', `${token.length} characters`);
  const payload = await verified(keys, token, now);
  const { jti, exp, eat_profile: profile, iss } = payload;
  if (typeof jti !== 'string' || exp === undefined)
    throw new TokenRefusedError('token.claims', 'no name or no end');
  if (profile !== earProfile) throw new TokenRefusedError('token.claims', 'another profile');
  if (iss !== issuer.name) throw new TokenRefusedError('token.claims', 'another issuer');
  return { id: jti, expiresAt: exp * 1000, claims: payload };
}

async function verified(
  keys: Pick<KeyRing, 'verifier'>,
  token: string,
  now: number,
): Promise<JWTPayload & { readonly eat_profile?: unknown }> {
  try {
    const { payload } = await jwtVerify(
      token,
      async ({ kid }) => {
        const key = typeof kid === 'string' ? await keys.verifier(kid) : undefined;
        if (key === undefined) throw new TokenRefusedError('token.key', 'one that is not, or not any more');
        return key;
      },
      { algorithms: ['ES256'], typ: 'JWT', currentDate: new Date(now), requiredClaims: ['exp', 'nbf'] },
    );
    return payload;
  } catch (error) {
    throw refusalFor(error);
  }
}

function refusalFor(error: unknown): unknown {
  if (!(error instanceof errors.JOSEError)) return error;
  const refuse = (...[check, found]: [...ConstructorParameters<typeof TokenRefusedError>]) =>
    new TokenRefusedError(check, found, { cause: error });
  if (error instanceof errors.JWTExpired) return refuse('token.lifetime', 'one that has expired');
  if (error instanceof errors.JOSEAlgNotAllowed) return refuse('token.algorithm', 'another algorithm');
  if (error instanceof errors.JWSSignatureVerificationFailed)
    return refuse('token.signature', 'a signature that does not verify');
  if (error instanceof errors.JWTClaimValidationFailed) {
    return error.claim === 'nbf' && error.reason === 'check_failed'
      ? refuse('token.lifetime', 'one that does not hold yet')
      : refuse('token.claims', `no fitting ${error.claim}`);
  }
  return refuse('token.format', 'something else');
}
