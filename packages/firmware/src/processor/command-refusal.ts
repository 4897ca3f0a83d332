import type { StatusName } from '@vouchsafe/sev';

/** Ends a command with a status code; never leaves the processor. */
export class CommandRefusal extends Error {
  readonly status: StatusName;

  constructor(status: StatusName) {
    super(status);
    this.status = status;
  }
}

export function refuse(status: StatusName): never {
  throw new CommandRefusal(status);
}

export function refuseUnless(condition: boolean, status: StatusName): asserts condition {
  if (!condition) refuse(status);
}
