import type { Attack, BrokerAttack, SevAttack, SnpAttack } from './attack.js';
import { administrationAttacks } from './broker/administration.js';
import { challengeAttacks } from './broker/challenges.js';
import { databaseAttacks } from './broker/database.js';
import { releaseAttacks } from './broker/releases.js';
import { tokenAttacks } from './broker/tokens.js';
import { asidAttacks } from './sev/address-space-ids.js';
import { bootAttacks } from './sev/boot.js';
import { endorsementAttacks } from './sev/endorsement.js';
import { launchAttacks } from './sev/launch.js';
import { measurementAttacks } from './sev/measurement.js';
import { runTimeAttacks } from './sev/run-time.js';
import { secretAttacks } from './sev/secret.js';
import { snpBootAttacks } from './snp/boot.js';
import { idBlockAttacks } from './snp/id-blocks.js';
import { snpKeyAttacks } from './snp/keys.js';
import { snpLaunchAttacks } from './snp/launch.js';
import { snpMemoryAttacks } from './snp/memory/memory.js';
import { snpPrivilegeAttacks } from './snp/memory/privilege-levels.js';
import { registerStateAttacks } from './snp/memory/register-state.js';
import { watchingAttacks } from './snp/memory/watching.js';
import { guestMessageAttacks } from './snp/messages.js';
import { snpReportAttacks } from './snp/reports.js';
import { snpVersionAttacks } from './snp/versions.js';
import { agentAttacks } from './workloads/agent.js';
import { diskAttacks } from './workloads/disks.js';
import { imagePolicyAttacks } from './workloads/image-policy.js';
import { imageAttacks } from './workloads/images.js';
import { sealedSecretAttacks } from './workloads/sealed-secrets.js';

/** Every attack on guests of SEV and SEV-ES, in the order of a machine's life. */
export const sevAttacks: readonly SevAttack[] = [
  ...endorsementAttacks,
  ...launchAttacks,
  ...measurementAttacks,
  ...bootAttacks,
  ...secretAttacks,
  ...asidAttacks,
  ...runTimeAttacks,
];

/** The same for guests of SEV-SNP, with what they run and keep. */
export const snpAttacks: readonly SnpAttack[] = [
  ...idBlockAttacks,
  ...snpLaunchAttacks,
  ...snpBootAttacks,
  ...snpMemoryAttacks,
  ...registerStateAttacks,
  ...watchingAttacks,
  ...snpPrivilegeAttacks,
  ...guestMessageAttacks,
  ...snpReportAttacks,
  ...snpVersionAttacks,
  ...snpKeyAttacks,
  ...imageAttacks,
  ...imagePolicyAttacks,
  ...sealedSecretAttacks,
  ...agentAttacks,
  ...diskAttacks,
];

/** Every attack on a key broker, from the first request of a guest to what the broker remembers. */
export const brokerAttacks: readonly BrokerAttack[] = [
  ...challengeAttacks,
  ...tokenAttacks,
  ...releaseAttacks,
  ...administrationAttacks,
  ...databaseAttacks,
];

/** All of them. `docs/attacks.md` is generated from this list. */
export const attacks: readonly Attack[] = [...sevAttacks, ...snpAttacks, ...brokerAttacks];
