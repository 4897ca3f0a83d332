import { buildGuestPolicy } from '@vouchsafe/sev';
import { changedInitrd } from '../boot-files.js';
import { onStage, startProcessor } from '../on-stage.js';
import type { GuestSettings } from '../roles/guest.js';
import type { HostResult, HostSettings } from '../roles/host.js';
import type { KeyServiceReady, KeyServiceSettings } from '../roles/key-service.js';
import type { OwnerSettings } from '../roles/owner.js';
import type { Play, Story } from '../tell-story.js';

const machine = { vcpus: 1, vcpuType: 'EPYC-Milan' } as const;

/** One launch from a platform's keys to an unlocked disk, with every role in a process of its own. */
export async function launchDemo(
  mode: 'sev' | 'sev-es',
  play: Play,
  {
    changesInitrd = false,
  }: { /** The host changes one byte of what it boots. */ readonly changesInitrd?: boolean } = {},
): Promise<Story> {
  const { authority, progress } = play;
  return onStage(play, async (scene) => {
    const { stage, inFolder, files, events } = scene;
    progress('starting the secure processor');
    const { chip, hostSocket, guestSocket } = await startProcessor(scene, 64);

    progress('making a development root: two RSA keys of 4096 bits');
    const keyService = await stage.start<KeyServiceReady>('key service', {
      folder: authority,
      chip,
      endorses: 'CEK',
    } satisfies KeyServiceSettings);

    progress('preparing the owner’s disk');
    await stage.start('owner', {
      mode,
      policy: policyOf(mode),
      files,
      ...machine,
      socket: inFolder('owner.sock'),
      keyService: keyService.ready.address,
      ark: keyService.ready.ark,
      volume: inFolder('disk.img'),
    } satisfies OwnerSettings);
    await stage.start('guest', {
      socket: guestSocket,
      volume: inFolder('disk.img'),
    } satisfies GuestSettings);

    progress('launching');
    const host = await stage.start('host', {
      machineSocket: hostSocket,
      ownerSocket: inFolder('owner.sock'),
      keyService: keyService.ready.address,
      case: mode === 'sev' ? 'A' : 'B',
      files: changesInitrd ? await changedInitrd(files, inFolder()) : files,
      ...machine,
    } satisfies HostSettings);
    const { accepted, console } = (await host.ended) as HostResult;
    const unlocked = events.some(
      (event) => event.kind === 'sight' && event.subject === 'disk' && event.seenBy === 'guest',
    );
    return { accepted: accepted && unlocked, events, console, bootFiles: files.source };
  });
}

/** No debugging, no shared key, no migration, firmware from API 0.17 on; ES as the mode says. */
export function policyOf(mode: 'sev' | 'sev-es'): number {
  return buildGuestPolicy({
    noDebug: true,
    noKeySharing: true,
    noSend: true,
    encryptedState: mode === 'sev-es',
    apiMajor: 0,
    apiMinor: 17,
  });
}
