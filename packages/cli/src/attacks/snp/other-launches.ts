import type { SnpLaunchConfiguration } from '@vouchsafe/host';
import type { ReportExpectations } from '@vouchsafe/sev';
import type { SnpAttack } from '../attack.js';
import { flipped } from '../interfering-host.js';
import { images } from '../sev/world.js';
import { appraisedGuest } from './appraised-guest.js';
import type { SnpWorld } from './world.js';

/** Launches that differ from what the owner meant, for whoever looks at a launch. */

const modes = ['snp'] as const;
export const debugPolicy = 0xb_0000n;
export const otherKernel = { ...images, kernel: flipped(images.kernel) };

/** A guest that the processor lets run; whoever gets its report compares it with what was meant. */
export function refusedReport(
  id: string,
  title: string,
  at: string,
  launch: (world: SnpWorld) => Promise<{
    readonly changes?: Partial<SnpLaunchConfiguration>;
    readonly expectations?: ReportExpectations;
  }>,
): SnpAttack {
  return {
    id,
    flow: 'launch',
    modes,
    title,
    refusedBy: 'verifier',
    at,
    async run(world, rig) {
      const { changes, expectations } = await launch(world);
      const otherwise = 'the trust of a verifier who meant another guest';
      return appraisedGuest(world, rig, await rig.boot(changes), otherwise, expectations && { expectations });
    },
  };
}
