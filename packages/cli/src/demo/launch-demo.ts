import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildGuestPolicy } from '@vouchsafe/sev';
import { changedInitrd, prepareBootFiles } from './boot-files.js';
import type { NarrationEvent } from './narration.js';
import type { GuestSettings } from './roles/guest.js';
import type { HostResult, HostSettings } from './roles/host.js';
import type { KeyServiceReady, KeyServiceSettings } from './roles/key-service.js';
import type { OwnerSettings } from './roles/owner.js';
import type { ProcessorReady, ProcessorSettings } from './roles/processor.js';
import { openStage } from './stage.js';
import type { Play, Story } from './tell-story.js';

const machine = { vcpus: 1, vcpuType: 'EPYC-Milan' } as const;

/** One launch from a platform's keys to an unlocked disk, with every role in a process of its own. */
export async function launchDemo(
  mode: 'sev' | 'sev-es',
  { authority, tell, progress, signal }: Play,
  {
    changesInitrd = false,
  }: { /** The host changes one byte of what it boots. */ readonly changesInitrd?: boolean } = {},
): Promise<Story> {
  const folder = await mkdtemp(join(tmpdir(), 'vouchsafe-demo-'));
  const inFolder = (name: string) => join(folder, name);
  const events: NarrationEvent[] = [];
  const stage = openStage((event) => {
    events.push(event);
    tell(event);
  }, signal);

  try {
    const files = await prepareBootFiles(folder);
    progress('starting the secure processor');
    const processor = await stage.start<ProcessorReady>('processor', {
      folder: inFolder('chip'),
      hostSocket: inFolder('host.sock'),
      guestSocket: inFolder('guest.sock'),
      memory: 64 * 1024 * 1024,
    } satisfies ProcessorSettings);

    progress('making a development root: two RSA keys of 4096 bits');
    const keyService = await stage.start<KeyServiceReady>('key service', {
      folder: authority,
      chip: processor.ready,
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
      socket: inFolder('guest.sock'),
      volume: inFolder('disk.img'),
    } satisfies GuestSettings);

    progress('launching');
    const host = await stage.start('host', {
      machineSocket: inFolder('host.sock'),
      ownerSocket: inFolder('owner.sock'),
      keyService: keyService.ready.address,
      case: mode === 'sev' ? 'A' : 'B',
      files: changesInitrd ? await changedInitrd(files, folder) : files,
      ...machine,
    } satisfies HostSettings);
    const { accepted, console } = (await host.ended) as HostResult;
    const unlocked = events.some(
      (event) => event.kind === 'sight' && event.subject === 'disk' && event.seenBy === 'guest',
    );
    return { accepted: accepted && unlocked, events, console, bootFiles: files.source };
  } finally {
    await stage.close();
    await rm(folder, { recursive: true, force: true });
  }
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
