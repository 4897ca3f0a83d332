import { onStage } from '../on-stage.js';
import type { KeyServiceReady, KeyServiceSettings } from '../roles/key-service.js';
import type { Play, Story } from '../tell-story.js';
import { switchOn } from './machine.js';
import { type Ending, firstGuestSvn, type Restart, restartsAfter, sameEnding } from './restarts.js';
import type { OwnerReady, OwnerSettings } from './roles/owner.js';

/** A guest that proves to its owner what it is, and what becomes of the key that it seals, restart by restart. */
export interface SnpStory extends Story {
  /** How the first launch ended. */
  readonly first: Ending;
  /** None, when the first launch did not end well. */
  readonly restarts: readonly TriedRestart[];
}

export interface TriedRestart {
  readonly restart: Restart;
  readonly ending: Ending;
  readonly asExpected: boolean;
}

export async function snpDemo(play: Play): Promise<SnpStory> {
  const { authority, progress } = play;
  return onStage(play, async ({ stage, inFolder, files, events, tell }) => {
    const folder = inFolder();
    const volume = { volume: inFolder('disk.img'), sealedKey: inFolder('disk.key.sealed') };

    progress('starting the secure processor');
    const machine = await switchOn(stage, { folder, chip: 'chip' });
    progress('making a development root: two RSA keys of 4096 bits');
    const keyService = await stage.start<KeyServiceReady>('key service', {
      folder: authority,
      chip: machine.chip,
      endorses: 'VCEK',
    } satisfies KeyServiceSettings);
    progress('preparing the owner’s disk');
    const owner = await startOwner(keyService.ready, volume.volume);

    progress('launching');
    const { address, releases } = owner;
    const releaseOf = (guestSvn: number) => releases.find((each) => each.guestSvn === guestSvn)!;
    const first = await machine.run(
      { ...volume, owner: address },
      {
        files,
        release: releaseOf(firstGuestSvn),
        first: { keyService: keyService.ready.address, sealedKey: volume.sealedKey },
      },
    );

    const restarts: TriedRestart[] = [];
    for (const restart of first.ending.opens ? restartsAfter(machine.chip.vcek.tcb) : []) {
      const ending = await endingOf(restart);
      restarts.push({ restart, ending, asExpected: sameEnding(ending, restart.expected) });
    }
    const accepted = restarts.length > 0 && restarts.every(({ asExpected }) => asExpected);
    const { console } = first;
    return { accepted, events, console, bootFiles: files.source, first: first.ending, restarts };

    async function startOwner({ address: service, ark }: KeyServiceReady, disk: string) {
      const settings = { files, keyService: service, ark, volume: disk } satisfies OwnerSettings;
      const script = new URL('./roles/owner.js', import.meta.url);
      return (await stage.start<OwnerReady>('owner', settings, script)).ready;
    }

    async function endingOf({ what, otherChip, tcb, guestSvn, hostSigns }: Restart): Promise<Ending> {
      progress(`restarting: ${what}`);
      tell({ kind: 'step', at: 'host', what: `switches the machine off and on: ${what}`, outcome: 'done' });
      const again = await switchOn(stage, {
        folder,
        chip: otherChip ? 'other-chip' : 'chip',
        tcb: tcb?.of === 'firmware' ? tcb.version : undefined,
      });
      const reportedTcb = tcb?.of === 'reported' ? tcb.version : undefined;
      const release = releaseOf(guestSvn ?? firstGuestSvn);
      return (await again.run(volume, { files, release, reportedTcb, hostSigns })).ending;
    }
  });
}
