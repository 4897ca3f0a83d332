import type { Outcome } from '../attack.js';
import { verifierOutcome } from '../outcome.js';
import { type BootedSnpGuest, freshData, type SnpRig, type SnpWorld, type VerifyOptions } from './world.js';

/** What the verifier makes of a guest that runs: its report over fresh data. Where it is accepted, the host achieved `otherwise`. */
export async function appraisedGuest(
  world: SnpWorld,
  rig: SnpRig,
  { attestation }: Pick<BootedSnpGuest, 'attestation'>,
  otherwise: string,
  options?: VerifyOptions,
): Promise<Outcome> {
  const { report } = await attestation.report({ reportData: freshData });
  return verifierOutcome(await world.verify(report, rig, options), otherwise);
}
