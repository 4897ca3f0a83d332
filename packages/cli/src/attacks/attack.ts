import type { Rig, World } from './world.js';

/** Who says no. `nobody`: the real chip would not either, and the attack is a named limit. `harmless`: it had no effect. */
export type Refuser = 'owner' | 'processor' | 'CPU' | 'guest' | 'nobody' | 'harmless';

/** What came of an attack when it was tried. */
export interface Outcome {
  readonly refusedBy: Refuser;
  /** Check id, status code or exit reason at which it was refused; otherwise what the host achieved, or did not. */
  readonly at: string;
  /** What was seen, in a sentence. */
  readonly evidence: string;
}

/** One thing that a hostile host does, declared with who must refuse it and where, and tried for real by `run`. */
export interface Attack {
  /** Stable, for example `swapped-pdh`. */
  readonly id: string;
  readonly flow: 'endorsement' | 'launch' | 'measurement' | 'secret' | 'ownership of ASIDs' | 'run time';
  /** The modes in which it is tried. */
  readonly modes: readonly ('sev' | 'sev-es')[];
  /** What the host does, as one sentence. */
  readonly title: string;
  readonly refusedBy: Refuser;
  readonly at: string;
  /** For an attack that succeeds: why the chip lets it, and what catches it. */
  readonly limit?: { readonly why: string; readonly caughtBy: string };
  /** Tries it on a platform of its own, with an owner who expects the world's images. */
  run(world: World, rig: Rig): Promise<Outcome>;
}

/** Whether an attack ended as declared. */
export function asDeclared(attack: Attack, outcome: Outcome): boolean {
  return outcome.refusedBy === attack.refusedBy && outcome.at === attack.at;
}
