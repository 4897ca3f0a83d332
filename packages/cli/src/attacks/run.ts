import { generateAuthorityKeys } from '@vouchsafe/kds';
import { type Attack, type AttackMode, asDeclared, type Outcome } from './attack.js';
import { createBrokerWorld } from './broker/world.js';
import { brokerAttacks, sevAttacks, snpAttacks } from './catalogue.js';
import { createWorld, type WorldOptions } from './sev/world.js';
import { createSnpWorld } from './snp/world.js';

/** An attack that was tried. */
export interface TriedAttack {
  readonly attack: Attack;
  readonly mode: AttackMode;
  readonly outcome: Outcome;
  /** Whether it ended as the catalogue says that it must. */
  readonly asDeclared: boolean;
}

export interface RunAttacksOptions extends Omit<WorldOptions, 'mode'> {
  readonly modes?: readonly AttackMode[];
  readonly progress?: (what: string) => void;
  readonly tried?: (attack: TriedAttack) => void;
  readonly signal?: AbortSignal | undefined;
}

/** Tries every attack of the catalogue, each on a platform of its own. */
export async function runAttacks(options: RunAttacksOptions = {}): Promise<TriedAttack[]> {
  const { modes = ['sev', 'sev-es', 'snp', 'broker'], progress = () => undefined } = options;
  const { tried = () => undefined, signal } = options;
  const generateKeys = onlyOnce(options.generateKeys ?? generateAuthorityKeys);
  const all: TriedAttack[] = [];
  for (const mode of modes) {
    progress('making a development root');
    const { attempts, close } = await attemptsOn(mode, generateKeys);
    try {
      for (const { attack, run } of attempts) {
        if (signal?.aborted) return all;
        progress(`${mode}: ${attack.id}`);
        const outcome = await run();
        const result = { attack, mode, outcome, asDeclared: asDeclared(attack, outcome) };
        all.push(result);
        tried(result);
      }
    } finally {
      await close();
    }
  }
  return all;
}

type GenerateKeys = NonNullable<WorldOptions['generateKeys']>;

/** All worlds stand on one pair of keys: RSA keys of 4096 bits take seconds to make. */
function onlyOnce(generateKeys: GenerateKeys): GenerateKeys {
  let made: ReturnType<GenerateKeys> | undefined;
  return (generation) => {
    made ??= generateKeys(generation);
    return made;
  };
}

interface Attempts {
  readonly attempts: readonly { readonly attack: Attack; run(): Promise<Outcome> }[];
  close(): Promise<void>;
}

/** What can be tried in a mode, and the world that it is tried in. */
async function attemptsOn(mode: AttackMode, generateKeys: GenerateKeys): Promise<Attempts> {
  if (mode === 'snp') return attemptsIn(await createSnpWorld({ generateKeys }), snpAttacks);
  if (mode === 'broker') return attemptsIn(await createBrokerWorld({ generateKeys }), brokerAttacks);
  const tryable = sevAttacks.filter(({ modes }) => modes.includes(mode));
  return attemptsIn(await createWorld({ mode, generateKeys }), tryable);
}

function attemptsIn<W extends AttackWorld<R>, R>(
  world: W,
  attacks: readonly (Attack & { run(world: W, rig: R): Promise<Outcome> })[],
): Attempts {
  const attempts = attacks.map((attack) => ({
    attack,
    run: async () => attack.run(world, await world.rig()),
  }));
  return { attempts, close: () => world.close() };
}

interface AttackWorld<R> {
  rig(): Promise<R>;
  close(): Promise<void>;
}
