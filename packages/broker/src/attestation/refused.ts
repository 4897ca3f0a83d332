import { type Appraisal, VouchsafeError, verdict } from '@vouchsafe/sev';

/** No challenge for this guest: its protocol version or its kind is not served here. */
export class ChallengeRefusedError extends VouchsafeError {
  readonly code = 'challenge-refused';
  readonly check: 'request.version' | 'request.tee';

  constructor(check: ChallengeRefusedError['check'], expected: string, found: string) {
    super(`expected ${expected}, found ${found} (${check})`);
    this.check = check;
  }
}

/** A request without a session that this broker knows, or whose session has ended. Callers are not told which. */
export class SessionRefusedError extends VouchsafeError {
  readonly code = 'session-unknown';

  constructor() {
    super('no session, or one that has ended (challenge.known)', { hint: 'ask for a new challenge' });
  }
}

/** Evidence that was read and refused. The guest is told which checks failed; the record has the rest. */
export class EvidenceRefusedError extends VouchsafeError {
  readonly code = 'evidence-refused';
  readonly appraisal: Appraisal;
  /** By which the operator finds it in the record. */
  readonly reference: string;

  constructor(appraisal: Appraisal, reference: string) {
    const failed = verdict(appraisal).failed.map(({ id }) => id);
    const shown = failed.slice(0, 8).join(', ') + (failed.length > 8 ? ', …' : '');
    super(`evidence refused at ${shown || 'every check'}; the operator can explain number ${reference}`);
    this.appraisal = appraisal;
    this.reference = reference;
  }
}

/** A secret that this guest does not get. Why is for the operator: `vouchsafe broker explain NUMBER`. */
export class ReleaseDeniedError extends VouchsafeError {
  readonly code = 'release-denied';
  readonly reference: string;

  constructor(reference: string) {
    super(`Access denied by policy; the operator can explain number ${reference}`);
    this.reference = reference;
  }
}

/** There is no such secret. Only a guest that meets the broker's demands gets to know. */
export class ResourceAbsentError extends VouchsafeError {
  readonly code = 'resource-absent';

  constructor() {
    super('resource not found');
  }
}
