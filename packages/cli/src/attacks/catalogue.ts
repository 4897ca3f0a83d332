import { asidAttacks } from './address-space-ids.js';
import type { Attack } from './attack.js';
import { endorsementAttacks } from './endorsement.js';
import { launchAttacks } from './launch.js';
import { measurementAttacks } from './measurement.js';
import { runTimeAttacks } from './run-time.js';
import { secretAttacks } from './secret.js';

/** Every attack, in the order of a machine's life. `docs/attacks.md` is generated from this list. */
export const attacks: readonly Attack[] = [
  ...endorsementAttacks,
  ...launchAttacks,
  ...measurementAttacks,
  ...secretAttacks,
  ...asidAttacks,
  ...runTimeAttacks,
];
