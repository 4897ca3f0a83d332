import { changedInitrd } from '../boot-files.js';
import type { HostResult, HostSettings } from '../brokered/roles/host.js';
import type { CountedKeyServiceSettings } from '../brokered/roles/key-service.js';
import type { NarrationEvent } from '../narration.js';
import { onStage, startProcessor } from '../on-stage.js';
import type { KeyServiceReady } from '../roles/key-service.js';
import { launchDemo } from '../sev/launch-demo.js';
import type { Play, Story } from '../tell-story.js';
import type { GuestEnd, GuestSettings } from './roles/guest.js';
import type { OwnerReady, OwnerSettings } from './roles/owner.js';

/** One machine, booted from its owner's files or from files with one byte changed. */
export interface Boot {
  readonly mode: 'snp' | 'sev-es';
  readonly changedInitrd: boolean;
  /** Whether its disk was unlocked. */
  readonly unlocked: boolean;
  /** Who refused it, and at what. */
  readonly refused?: { readonly by: 'owner'; readonly at: string };
}

export interface BootStory extends Story {
  readonly boots: readonly Boot[];
}

/** Measured direct boot to an unlocked disk, and a hostile twin of each: SEV-SNP asks a broker, SEV-ES is given the key. */
export async function bootDemo(play: Play): Promise<BootStory> {
  const boots: Boot[] = [];
  const events: NarrationEvent[] = [];
  const stories: Story[] = [];
  const announce = (what: string) => {
    const event = { kind: 'step', at: 'host', what, outcome: 'done' } as const;
    events.push(event);
    play.tell(event);
  };
  for (const mode of ['snp', 'sev-es'] as const) {
    for (const changed of [false, true]) {
      const what = changed
        ? 'the initrd with one byte changed'
        : 'the owner’s kernel, initrd and command line';
      announce(`${mode === 'snp' ? 'SEV-SNP' : 'SEV-ES'}: boots ${what}, measured as it is`);
      const story =
        mode === 'snp'
          ? await brokeredBoot(play, changed)
          : await launchDemo('sev-es', play, { changesInitrd: changed });
      events.push(...story.events);
      stories.push(story);
      boots.push(bootOf(mode, changed, story));
    }
  }
  const [first] = stories as [Story];
  const accepted = boots.every(({ changedInitrd: changed, unlocked, refused }) =>
    changed ? !unlocked && refused !== undefined : unlocked,
  );
  return { accepted, events, console: first.console, bootFiles: first.bootFiles, boots };
}

function bootOf(mode: Boot['mode'], changed: boolean, { events }: Story): Boot {
  const unlocked = events.some(
    (event) => event.kind === 'sight' && event.subject === 'disk' && event.seenBy === 'guest',
  );
  const refusal = events.find((event) => event.kind === 'step' && event.outcome === 'refused');
  const at = refusal?.kind === 'step' && refusal.at === 'owner' ? checkIn(refusal.what) : undefined;
  const refused = at === undefined ? {} : { refused: { by: 'owner', at } as const };
  return { mode, changedInitrd: changed, unlocked, ...refused };
}

/** What stands behind the colon of an owner's refusal: the check. */
const checkIn = (what: string) => /: ([a-z.-]+)/.exec(what)?.[1] ?? what;

async function brokeredBoot(play: Play, changed: boolean): Promise<Story> {
  const { authority, progress } = play;
  const scriptOf = (path: string) => new URL(path, import.meta.url);
  return onStage(play, async (scene) => {
    const { stage, inFolder, files, events } = scene;
    const volume = inFolder('disk.img');
    progress('starting the secure processor');
    const { chip, hostSocket, guestSocket } = await startProcessor(scene, 32);
    progress('starting the key service and the broker');
    const keyService = await stage.start<KeyServiceReady>(
      'key service',
      { folder: authority, chip } satisfies CountedKeyServiceSettings,
      scriptOf('../brokered/roles/key-service.js'),
    );
    const { address, ark } = keyService.ready;
    const owner = await stage.start<OwnerReady>(
      'owner',
      { files, folder: inFolder('owner'), volume, keyService: address, ark } satisfies OwnerSettings,
      scriptOf('./roles/owner.js'),
    );
    progress('booting');
    const guest = await stage.start(
      'guest',
      { socket: guestSocket, volume } satisfies GuestSettings,
      scriptOf('./roles/guest.js'),
    );
    const host = await stage.start(
      'host',
      {
        machineSocket: hostSocket,
        keyService: address,
        files: changed ? await changedInitrd(files, inFolder()) : files,
        commandLine: owner.ready.commandLine,
        starts: 1,
      } satisfies HostSettings,
      scriptOf('../brokered/roles/host.js'),
    );
    const [{ refused }, { console }] = (await Promise.all([guest.ended, host.ended])) as [
      GuestEnd,
      HostResult,
    ];
    return { accepted: refused === undefined, events, console, bootFiles: files.source };
  });
}
