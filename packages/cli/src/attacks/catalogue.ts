import type { Attack, SevAttack, SnpAttack } from './attack.js';
import { asidAttacks } from './sev/address-space-ids.js';
import { endorsementAttacks } from './sev/endorsement.js';
import { launchAttacks } from './sev/launch.js';
import { measurementAttacks } from './sev/measurement.js';
import { runTimeAttacks } from './sev/run-time.js';
import { secretAttacks } from './sev/secret.js';
import { snpKeyAttacks } from './snp/keys.js';
import { snpLaunchAttacks } from './snp/launch.js';
import { snpMemoryAttacks } from './snp/memory.js';
import { guestMessageAttacks } from './snp/messages.js';
import { snpPrivilegeAttacks } from './snp/privilege-levels.js';
import { snpReportAttacks } from './snp/reports.js';
import { snpVersionAttacks } from './snp/versions.js';

/** Every attack on guests of SEV and SEV-ES, in the order of a machine's life. */
export const sevAttacks: readonly SevAttack[] = [
  ...endorsementAttacks,
  ...launchAttacks,
  ...measurementAttacks,
  ...secretAttacks,
  ...asidAttacks,
  ...runTimeAttacks,
];

/** The same for guests of SEV-SNP. */
export const snpAttacks: readonly SnpAttack[] = [
  ...snpLaunchAttacks,
  ...snpMemoryAttacks,
  ...snpPrivilegeAttacks,
  ...guestMessageAttacks,
  ...snpReportAttacks,
  ...snpVersionAttacks,
  ...snpKeyAttacks,
];

/** All of them. `docs/attacks.md` is generated from this list. */
export const attacks: readonly Attack[] = [...sevAttacks, ...snpAttacks];
