import { VouchsafeError } from '@vouchsafe/sev';
import { type Operation, operations, type Role } from './roles.js';

/** Nobody that this broker knows: no token, one that is malformed, unknown, expired or revoked. Callers are not told which. */
export class UnauthenticatedError extends VouchsafeError {
  readonly code = 'unauthenticated';
  /** For the log: what was wrong with the token. */
  readonly reason: UnauthenticatedReason;

  constructor(reason: UnauthenticatedReason) {
    super('no administrator’s token that is good here was presented', {
      hint: 'send `Authorization: Bearer TOKEN`; `vouchsafe broker token issue` makes one',
    });
    this.reason = reason;
  }
}
export type UnauthenticatedReason = 'absent' | 'malformed' | 'unknown' | 'expired' | 'revoked' | 'role';

/** Somebody known, whose roles do not suffice. */
export class ForbiddenError extends VouchsafeError {
  readonly code = 'forbidden';
  readonly operation: Operation;

  constructor(operation: Operation, held: readonly Role[]) {
    const needed = operations[operation].join(' or ');
    super(`${operation} needs the role ${needed}; this token has ${held.join(', ') || 'none'}`, {
      hint: `ask for a token with the role ${operations[operation][0]}`,
    });
    this.operation = operation;
  }
}
