import type { BrokerRig, BrokerWorld } from './broker/world.js';
import type { Rig, World } from './sev/world.js';
import type { SnpRig, SnpWorld } from './snp/world.js';

/**
 * Who says no. `nobody`: the real chip would not either, and the attack is a named limit. `harmless`: it had no effect.
 * `owner` is who releases secrets into launches of SEV and SEV-ES, `verifier` who appraises the reports of SEV-SNP guests,
 * `broker` the service that does both for many machines.
 */
export type Refuser =
  | 'owner'
  | 'verifier'
  | 'broker'
  | 'processor'
  | 'CPU'
  | 'reverse map'
  | 'guest'
  | 'nobody'
  | 'harmless';

/** What is attacked: a guest of a generation, or the key broker that SEV-SNP guests attest to. */
export type AttackMode = 'sev' | 'sev-es' | 'snp' | 'broker';

/** What came of an attack when it was tried. */
export interface Outcome {
  readonly refusedBy: Refuser;
  /** Check id, status code or exit reason at which it was refused; otherwise what the host achieved, or did not. */
  readonly at: string;
  /** What was seen, in a sentence. */
  readonly evidence: string;
}

/** One thing that an attacker does, declared with who must refuse it and where. */
interface DeclaredAttack {
  /** Stable, for example `swapped-pdh`. */
  readonly id: string;
  /** The modes in which it is tried. */
  readonly modes: readonly AttackMode[];
  /** Who does what, as one sentence. */
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
    | 'memory'
    | 'privilege levels'
    | 'guest messages'
    | 'reports'
    | 'versions'
    | 'keys'
    | 'images'
    | 'secrets'
    | 'disks';
  readonly modes: readonly ['snp'];
  /** Tries it on a platform of its own, with a verifier who expects the world's images. */
  run(world: SnpWorld, rig: SnpRig): Promise<Outcome>;
}

/** Against a key broker, by the host of its guests, its clients, its administrators, or who has its database. */
export interface BrokerAttack extends DeclaredAttack {
  readonly flow:
    | 'challenges and evidence'
    | 'tokens and sessions'
    | 'releases'
    | 'administration'
    | 'database and record';
  readonly modes: readonly ['broker'];
  /** Tries it on a broker of its own, which releases to the world's honest machine. */
  run(world: BrokerWorld, rig: BrokerRig): Promise<Outcome>;
}

export type Attack = SevAttack | SnpAttack | BrokerAttack;

/** Whether an attack ended as declared. */
export function asDeclared(attack: Attack, outcome: Outcome): boolean {
  return outcome.refusedBy === attack.refusedBy && outcome.at === attack.at;
}
