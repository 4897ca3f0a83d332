import { VouchsafeError } from '@vouchsafe/sev';

/** A method of the services that this machine, or this agent, cannot do. */
export class UnimplementedError extends VouchsafeError {
  readonly code = 'unimplemented';
}
