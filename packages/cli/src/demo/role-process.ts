import { VouchsafeError } from '@vouchsafe/sev';
import { type NarrationEvent, type Narrator, narrator } from './narration.js';

/** What a role's process and the demo say to each other. Nothing secret crosses here. */
export type ToRole =
  | { readonly type: 'start'; readonly play: number; readonly settings: object }
  | { readonly type: 'told'; readonly id: number };
export type FromRole =
  | { readonly type: 'tell'; readonly id: number; readonly event: NarrationEvent }
  | { readonly type: 'ready' | 'ended'; readonly play: number; readonly value: unknown }
  | {
      readonly type: 'failed';
      readonly play: number;
      readonly message: string;
      readonly hint?: string | undefined;
    };

export interface RoleContext<S> {
  readonly settings: S;
  readonly narrate: Narrator;
  /** Says that others may begin to talk to this role. */
  ready(value?: unknown): void;
  /** Does this before the role plays again: what it left standing goes. */
  undoLater(work: () => Promise<unknown> | unknown): void;
}

/**
 * The body of a role's process. It plays once or, when a machine is switched off and on, again. Its process lives until
 * the demo ends it, so that servers stay up; when the demo goes away, so does the process.
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

  const leftStanding: (() => unknown)[] = [];

  async function start(number: number, settings: S): Promise<void> {
    try {
      for (const undo of leftStanding.splice(0)) await undo();
      const value = await play({
        settings,
        narrate,
        ready: (given) => say({ type: 'ready', play: number, value: given }),
        undoLater: (work) => leftStanding.push(work),
      });
      say({ type: 'ended', play: number, value });
    } catch (error) {
      if (!(error instanceof VouchsafeError)) throw error;
      say({ type: 'failed', play: number, message: error.message, hint: error.hint });
    }
  }

  process.on('message', (message: ToRole) => {
    if (message.type === 'told') {
      untold.get(message.id)?.();
      untold.delete(message.id);
    } else {
      void start(message.play, message.settings as S);
    }
  });
  process.on('disconnect', () => process.exit());
}
