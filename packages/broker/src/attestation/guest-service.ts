import type { FlattenedJwe, ResourcePath } from '@vouchsafe/protocol';

/** What a guest gets from POST `/auth`. */
export interface Challenge {
  /** The session's id: whoever holds it may answer the challenge, and fetch what only the guest's key opens. */
  readonly cookie: string;
  /** Milliseconds since 1970. */
  readonly expiresAt: number;
  /** 32 random bytes in base64. */
  readonly nonce: string;
}

/** What a guest gets from POST `/attest`. */
export interface Attested {
  readonly token: string;
  readonly cookie: string;
  /** Of the session, milliseconds since 1970. */
  readonly expiresAt: number;
}

/** How a guest that asks for a secret says who it is. Both may come; the session counts first, as with Trustee. */
export interface GuestCredentials {
  readonly cookie?: string | undefined;
  readonly bearer?: string | undefined;
}

/** Run-time attestation and release, without the HTTP around it. */
export interface GuestService {
  /**
   * @param body JSON text of a request
   * @throws MalformedError, ChallengeRefusedError
   */
  challenge(body: string): Promise<Challenge>;
  /**
   * Judges the answer to a challenge. The very same answer again gives the token again; anything else is refused.
   * @param body JSON text of an attestation
   * @throws MalformedError, SessionRefusedError, EvidenceRefusedError
   */
  attest(cookie: string | undefined, body: string): Promise<Attested>;
  /**
   * Decides, and releases a secret to the key that the guest attested with. When this resolves the release is durable.
   * @throws SessionRefusedError without credentials, TokenRefusedError, ReleaseDeniedError, ResourceAbsentError
   */
  release(credentials: GuestCredentials, path: ResourcePath): Promise<FlattenedJwe>;
}
