import { VouchsafeError } from '@vouchsafe/sev';
import { type NarrationEvent, type Narrator, narrator } from './narration.js';

/** What a role's process and the demo say to each other. Nothing secret crosses here. */
export type ToRole =
  | { readonly type: 'start'; readonly settings: object }
  | { readonly type: 'told'; readonly id: number };
export type FromRole =
  | { readonly type: 'tell'; readonly id: number; readonly event: NarrationEvent }
  | { readonly type: 'ready'; readonly value: unknown }
  | { readonly type: 'ended'; readonly value: unknown }
  | { readonly type: 'failed'; readonly message: string; readonly hint?: string | undefined };

export interface RoleContext<S> {
  readonly settings: S;
  readonly narrate: Narrator;
  /** Says that others may begin to talk to this role. */
  ready(value?: unknown): void;
}

/**
 * The body of a role's process. Its process lives until the demo ends it, so that servers stay up; when the demo goes
 * away, so does the process.
 */
export function playRole<S extends object>(play: (context: RoleContext<S>) => Promise<unknown>): void {
  const untold = new Map<number, () => void>();
  let told = 0;
  const say = (message: FromRole) => process.send?.(message);

  const narrate = narrator((event) => {
    const id = ++told;
    return new Promise((resolve) => {
      untold.set(id, resolve);
      say({ type: 'tell', id, event });
    });
  });

  async function start(settings: S): Promise<void> {
    try {
      const value = await play({ settings, narrate, ready: (given) => say({ type: 'ready', value: given }) });
      say({ type: 'ended', value });
    } catch (error) {
      if (!(error instanceof VouchsafeError)) throw error;
      say({ type: 'failed', message: error.message, hint: error.hint });
    }
  }

  process.on('message', (message: ToRole) => {
    if (message.type === 'told') {
      untold.get(message.id)?.();
      untold.delete(message.id);
    } else {
      void start(message.settings as S);
    }
  });
  process.on('disconnect', () => process.exit());
}
