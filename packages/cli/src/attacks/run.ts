import { type Attack, asDeclared, type Outcome } from './attack.js';
import { attacks } from './catalogue.js';
import { createWorld, type WorldOptions } from './world.js';

/** An attack that was tried. */
export interface TriedAttack {
  readonly attack: Attack;
  readonly mode: 'sev' | 'sev-es';
  readonly outcome: Outcome;
  /** Whether it ended as the catalogue says that it must. */
  readonly asDeclared: boolean;
}

export interface RunAttacksOptions extends Omit<WorldOptions, 'mode'> {
  readonly modes?: readonly ('sev' | 'sev-es')[];
  readonly progress?: (what: string) => void;
  readonly tried?: (attack: TriedAttack) => void;
  readonly signal?: AbortSignal | undefined;
}

/** Tries every attack of the catalogue, each on a platform of its own. */
export async function runAttacks(options: RunAttacksOptions = {}): Promise<TriedAttack[]> {
  const { modes = ['sev', 'sev-es'], progress = () => undefined, tried = () => undefined, signal } = options;
  const all: TriedAttack[] = [];
  for (const mode of modes) {
    progress('making a development root');
    const world = await createWorld({ ...options, mode });
    try {
      for (const attack of attacks.filter((each) => each.modes.includes(mode))) {
        if (signal?.aborted) return all;
        progress(`${mode}: ${attack.id}`);
        const outcome = await attack.run(world, await world.rig());
        const result = { attack, mode, outcome, asDeclared: asDeclared(attack, outcome) };
        all.push(result);
        tried(result);
      }
    } finally {
      await world.close();
    }
  }
  return all;
}
