import { VouchsafeError } from '@vouchsafe/sev';

/** Longest text of a broker that is repeated, in characters. */
const longestDetail = 1024;

/** Text that somebody else wrote, bounded and without what could steer a terminal. */
export function saidBy(text: string): string {
  return text
    .slice(0, longestDetail)
    .replace(/\p{Cc}+/gu, ' ')
    .trim();
}

/** The broker judged the evidence, or the session that it was to come in, and said no. */
export class AttestationRefusedError extends VouchsafeError {
  readonly code = 'attestation-refused';

  /** @param detail in the broker's words, as {@link saidBy} gives them */
  constructor(detail: string) {
    super(`the key broker refuses this guest: ${detail}`, {
      hint: 'the operator of the broker can see every check: vouchsafe broker explain NUMBER',
    });
  }
}

/** The broker knows this guest, and its policy does not give it this secret. */
export class ReleaseRefusedError extends VouchsafeError {
  readonly code = 'release-refused';
  readonly resource: string;

  /** @param detail in the broker's words, as {@link saidBy} gives them */
  constructor(resource: string, detail: string) {
    super(`the key broker does not release ${resource}: ${detail}`, {
      hint: 'the operator of the broker can see why: vouchsafe broker explain NUMBER',
    });
    this.resource = resource;
  }
}

/** The broker has no such secret. */
export class ResourceAbsentError extends VouchsafeError {
  readonly code = 'resource-absent';
  readonly resource: string;

  constructor(resource: string) {
    super(`the key broker has no ${resource}`, {
      hint: 'check repository, type and tag; a broker may keep a secret from a guest that it does not trust',
    });
    this.resource = resource;
  }
}
