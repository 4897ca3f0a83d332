import { checkTable, VouchsafeError } from '@vouchsafe/sev';

/** The checks of a token that somebody presents, in the order in which they are made. */
export const tokenChecks = checkTable({
  'token.format': {
    title: 'token is a signed JWT',
    protects: 'Text that one reader takes for a token and another does not could hide what was signed.',
    hint: 'attest again, and present the token unchanged',
    kind: 'authenticity',
  },
  'token.algorithm': {
    title: 'token is signed with ES256',
    protects: 'A token that names no algorithm, or another one, could be accepted without this broker’s key.',
    hint: 'present a token of this broker',
    kind: 'authenticity',
  },
  'token.key': {
    title: 'key of the token is one of this broker’s, and in use',
    protects: 'Another broker, or whoever stole a key that was retired, could say who has attested.',
    hint: 'attest again: the key may have been retired',
    kind: 'authenticity',
  },
  'token.signature': {
    title: 'token is signed by the key that it names',
    protects: 'Anybody could write a token.',
    hint: 'attest again, and present the token unchanged',
    kind: 'authenticity',
  },
  'token.lifetime': {
    title: 'token holds at this moment',
    protects: 'A machine that was good once could fetch secrets for ever.',
    hint: 'attest again; if that does not help, compare the clocks',
    kind: 'authenticity',
  },
  'token.claims': {
    title: 'token is about an attestation',
    protects: 'What this broker signs for another purpose could be used to fetch secrets.',
    hint: 'attest again, and present the token that comes back',
    kind: 'authenticity',
  },
});
export type TokenCheck = keyof typeof tokenChecks;

/** A token that this broker does not honour. `check` says why. */
export class TokenRefusedError extends VouchsafeError {
  readonly code = 'token-refused';
  readonly check: TokenCheck;

  constructor(check: TokenCheck, found: string, options?: { cause?: unknown }) {
    const { title, hint } = tokenChecks[check];
    super(`token refused: ${title} (${check}): found ${found}`, { hint, ...options });
    this.check = check;
  }
}
