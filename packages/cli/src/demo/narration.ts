import { type Appraisal, digest, toHex, verdict } from '@vouchsafe/sev';

/** What a demo tells of itself: each message that crosses from one role to another, and what came of it. */

export const roles = ['owner', 'key service', 'host', 'processor', 'guest'] as const;
export type Role = (typeof roles)[number];

/** One message on its way. Only its size and digest are told, never its content. */
export interface MessageEvent {
  readonly kind: 'message';
  readonly from: Role;
  readonly to: Role;
  readonly what: string;
  /** Who can read the content: `anyone`, or those who hold the keys. */
  readonly readableBy: string;
  /** Bytes. */
  readonly size: number;
  /** First 8 bytes of the SHA-256 of the content, in hexadecimal. */
  readonly digest: string;
}

/** A role decided or did something by itself. */
export interface StepEvent {
  readonly kind: 'step';
  readonly at: Role;
  readonly what: string;
  readonly outcome: 'done' | 'accepted' | 'refused';
}

/** One cell of the closing table: what the host saw of something, or what the guest got. */
export interface SightEvent {
  readonly kind: 'sight';
  readonly subject: string;
  readonly seenBy: 'host' | 'guest';
  readonly sight: string;
}

export type NarrationEvent = MessageEvent | StepEvent | SightEvent;

/** Tells an event; resolves when it has been told, so that the story keeps its order across processes. */
export type Tell = (event: NarrationEvent) => Promise<void>;

/** The words in which roles tell their story. */
export interface Narrator {
  message(from: Role, to: Role, what: string, content: Uint8Array, readableBy?: string): Promise<void>;
  step(at: Role, what: string, outcome?: StepEvent['outcome']): Promise<void>;
  sight(subject: string, seenBy: 'host' | 'guest', sight: string): Promise<void>;
}

export function narrator(tell: Tell): Narrator {
  return {
    async message(from, to, what, content, readableBy = 'anyone') {
      const whole = toHex(await digest('sha256', content));
      await tell({
        kind: 'message',
        from,
        to,
        what,
        readableBy,
        size: content.length,
        digest: whole.slice(0, 16),
      });
    },
    step: (at, what, outcome = 'done') => tell({ kind: 'step', at, what, outcome }),
    sight: (subject, seenBy, sight) => tell({ kind: 'sight', subject, seenBy, sight }),
  };
}

/** Tells what the owner makes of evidence: how many checks passed, or which did not, and under which root. */
export function tellVerdict(narrate: Narrator, what: string, appraisal: Appraisal): Promise<void> {
  const { accepted, failed } = verdict(appraisal);
  const passed = appraisal.checks.filter(({ status }) => status === 'pass').length;
  const because = accepted ? `${passed} checks passed` : failed.map(({ id }) => id).join(', ');
  const root = appraisal.root === undefined ? '' : `; root: ${appraisal.root.name}`;
  const outcome = accepted ? 'accepted' : 'refused';
  return narrate.step('owner', `${what} ${outcome}: ${because}${root}`, outcome);
}
