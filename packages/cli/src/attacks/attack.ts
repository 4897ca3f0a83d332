import type { Rig, World } from './sev/world.js';
import type { SnpRig, SnpWorld } from './snp/world.js';

/**
 * Who says no. `nobody`: the real chip would not either, and the attack is a named limit. `harmless`: it had no effect.
 * `owner` is who releases secrets into launches of SEV and SEV-ES, `verifier` who appraises the reports of SEV-SNP guests.
 */
export type Refuser =
  | 'owner'
  | 'verifier'
  | 'processor'
  | 'CPU'
  | 'reverse map'
  | 'guest'
  | 'nobody'
  | 'harmless';

export type AttackMode = 'sev' | 'sev-es' | 'snp';

/** What came of an attack when it was tried. */
export interface Outcome {
  readonly refusedBy: Refuser;
  /** Check id, status code or exit reason at which it was refused; otherwise what the host achieved, or did not. */
  readonly at: string;
  /** What was seen, in a sentence. */
  readonly evidence: string;
}

/** One thing that a hostile host does, declared with who must refuse it and where. */
interface DeclaredAttack {
  /** Stable, for example `swapped-pdh`. */
  readonly id: string;
  /** The modes in which it is tried. */
  readonly modes: readonly AttackMode[];
  /** What the host does, as one sentence. */
  readonly title: string;
  readonly refusedBy: Refuser;
  readonly at: string;
  /** For an attack that succeeds: why the chip lets it, and what catches it. */
  readonly limit?: { readonly why: string; readonly caughtBy: string };
}

/** Against a guest of SEV or SEV-ES. */
export interface SevAttack extends DeclaredAttack {
  readonly flow:
    | 'endorsement'
    | 'launch'
    | 'measurement'
    | 'boot'
    | 'secret'
    | 'ownership of ASIDs'
    | 'run time';
  readonly modes: readonly ('sev' | 'sev-es')[];
  /** Tries it on a platform of its own, with an owner who expects the world's images. */
  run(world: World, rig: Rig): Promise<Outcome>;
}

/** Against a guest of SEV-SNP. */
export interface SnpAttack extends DeclaredAttack {
  readonly flow:
    | 'launch'
    | 'boot'
    | 'images and secrets'
    | 'memory'
    | 'privilege levels'
    | 'guest messages'
    | 'reports'
    | 'versions'
    | 'keys';
  readonly modes: readonly ['snp'];
  /** Tries it on a platform of its own, with a verifier who expects the world's images. */
  run(world: SnpWorld, rig: SnpRig): Promise<Outcome>;
}

export type Attack = SevAttack | SnpAttack;

/** Whether an attack ended as declared. */
export function asDeclared(attack: Attack, outcome: Outcome): boolean {
  return outcome.refusedBy === attack.refusedBy && outcome.at === attack.at;
}
