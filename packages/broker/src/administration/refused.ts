import { VouchsafeError } from '@vouchsafe/sev';
import { type Operation, operations, type Role } from './roles.js';

/** Nobody that this broker knows: no token, one that is malformed, unknown, expired or revoked. Callers are not told which. */
export class UnauthenticatedError extends VouchsafeError {
  readonly code = 'unauthenticated';
  /** For the log: what was wrong with the token. */
  readonly reason: UnauthenticatedReason;

  constructor(reason: UnauthenticatedReason) {
    super('no administrator’s token that is good here was presented', {
      hint:
        'send `Authorization: Bearer TOKEN`; `vouchsafe broker token issue` makes one, and where no good one is left ' +
        '`vouchsafe broker token recover` in the broker’s folder',
    });
    this.reason = reason;
  }
}
export type UnauthenticatedReason = 'absent' | 'malformed' | 'unknown' | 'expired' | 'revoked' | 'role';

/** Somebody known, whose roles do not suffice. */
export class ForbiddenError extends VouchsafeError {
  readonly code = 'forbidden';
  readonly operation: Operation;

  /** @param needed roles; those that may do the operation */
  constructor(operation: Operation, held: readonly Role[], needed: readonly Role[] = operations[operation]) {
    super(`${operation} needs the role ${needed.join(' or ')}; this token has ${held.join(', ') || 'none'}`, {
      hint: `ask for a token with the role ${needed[0]}`,
    });
    this.operation = operation;
  }
}

/** What was asked for is not there. */
export class NotFoundError extends VouchsafeError {
  readonly code = 'not-found';

  constructor(what: string, hint?: string) {
    super(`${what}: there is none`, { hint });
  }
}
