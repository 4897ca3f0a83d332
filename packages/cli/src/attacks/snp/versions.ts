import { initialiseSnpWhenNeeded } from '@vouchsafe/host';
import type { SnpAttack } from '../attack.js';
import { processorOutcome } from '../outcome.js';
import { appraisedGuest } from './appraised-guest.js';
import { configure, loadVlek, newer, newHashstick, older } from './platform.js';

/** The host chooses which firmware its processor runs, and has reasons to choose one with a known hole. */

const modes = ['snp'] as const;

export const snpVersionAttacks: readonly SnpAttack[] = [
  {
    id: 'firmware-below-committed',
    flow: 'versions',
    modes,
    title: 'The host goes back to a firmware with a lower TCB version than the committed one',
    refusedBy: 'processor',
    at: 'BAD_SVN',
    async run(_world, rig) {
      await initialiseSnpWhenNeeded(rig.host);
      const back = await rig.restart({ snp: { currentTcb: older(rig.tcb) } });
      return processorOutcome('old holes, open again', () => initialiseSnpWhenNeeded(back.host));
    },
  },
  {
    id: 'build-below-committed',
    flow: 'versions',
    modes,
    title: 'The host goes back to an older build of the same TCB version',
    refusedBy: 'processor',
    at: 'BAD_VERSION',
    async run(_world, rig) {
      await initialiseSnpWhenNeeded(rig.host);
      const back = await rig.restart({ build: 1 });
      return processorOutcome('an older firmware than the committed one', () =>
        initialiseSnpWhenNeeded(back.host),
      );
    },
  },
  {
    id: 'reported-version-raised',
    flow: 'versions',
    modes,
    title: 'The host has reports signed for a TCB version above the committed one',
    refusedBy: 'processor',
    at: 'INVALID_PARAM',
    run: (_world, rig) =>
      processorOutcome('reports of a firmware that the chip need not run', () =>
        configure(rig.host, { reportedTcb: newer(rig.tcb) }),
      ),
  },
  {
    id: 'reported-version-lowered',
    flow: 'versions',
    modes,
    title: 'The host has reports signed for a TCB version in which there is a known hole',
    refusedBy: 'verifier',
    at: 'tcb.reported',
    async run(world, rig) {
      const reportedTcb = older(rig.tcb);
      await configure(rig.host, { reportedTcb });
      return appraisedGuest(world, rig, await rig.boot(), 'a report signed with an old key', {
        vek: await rig.vcek(reportedTcb),
        expectations: { minimumTcb: { reported: { snp: rig.tcb.snp } } },
      });
    },
  },
  {
    id: 'firmware-not-committed',
    flow: 'versions',
    modes,
    title: 'The host runs a newer firmware without committing it, so that the way back stays open',
    refusedBy: 'verifier',
    at: 'firmware.committed',
    async run(world, rig) {
      await initialiseSnpWhenNeeded(rig.host);
      const updated = await rig.restart({ snp: { currentTcb: newer(rig.tcb) } });
      const otherwise = 'a guest that is back on the old firmware tomorrow';
      const vek = await rig.vcek(rig.tcb);
      return appraisedGuest(world, updated, await updated.boot(), otherwise, { vek });
    },
  },
  {
    id: 'hashstick-of-another-chip',
    flow: 'versions',
    modes,
    title: 'The host loads a VLEK that was wrapped for another chip',
    refusedBy: 'processor',
    at: 'BAD_MEASUREMENT',
    async run(world, rig) {
      const other = await world.rig();
      return processorOutcome('an operator’s key on a chip that is not the operator’s', () =>
        loadVlek(rig, newHashstick(), other),
      );
    },
  },
  {
    id: 'uncommitted-firmware-left',
    flow: 'versions',
    modes,
    title: 'The host goes back to the committed firmware after it has run a newer one',
    refusedBy: 'nobody',
    at: 'the older firmware, with its holes',
    limit: {
      why: 'a firmware is on trial until SNP_COMMIT: the chip goes back as far as the committed one',
      caughtBy:
        '`firmware.committed` while the newer one runs, `tcb.reported` and `tcb.committed` with a least version; keys and reports are those of the committed version all along',
    },
    async run(_world, rig) {
      await initialiseSnpWhenNeeded(rig.host);
      const updated = await rig.restart({ snp: { currentTcb: newer(rig.tcb) } });
      await initialiseSnpWhenNeeded(updated.host);
      const back = await updated.restart();
      return processorOutcome('the older firmware, with its holes', () => initialiseSnpWhenNeeded(back.host));
    },
  },
];
