import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildGuestPolicy } from '@vouchsafe/sev';
import { prepareBootFiles } from './boot-files.js';
import type { NarrationEvent, SightEvent } from './narration.js';
import type { GuestSettings } from './roles/guest.js';
import type { HostResult, HostSettings } from './roles/host.js';
import type { KeyServiceReady, KeyServiceSettings } from './roles/key-service.js';
import type { OwnerSettings } from './roles/owner.js';
import type { ProcessorReady, ProcessorSettings } from './roles/processor.js';
import { openStage } from './stage.js';

/** One launch from a platform's keys to an unlocked disk, with every role in a process of its own. */
export interface LaunchStory {
  readonly accepted: boolean;
  readonly events: readonly NarrationEvent[];
  readonly console: readonly string[];
  readonly bootFiles: string;
}

export interface LaunchDemoOptions {
  readonly mode: 'sev' | 'sev-es';
  /** Folder of the development authority; demos that share it make its keys, which takes seconds, once. */
  readonly authority: string;
  readonly tell: (event: NarrationEvent) => void;
  readonly progress: (what: string) => void;
  /** Ends the demo early, with all its processes. */
  readonly signal?: AbortSignal | undefined;
}

const machine = { vcpus: 1, vcpuType: 'EPYC-Milan' } as const;

export async function launchDemo({
  mode,
  authority,
  tell,
  progress,
  signal,
}: LaunchDemoOptions): Promise<LaunchStory> {
  const folder = await mkdtemp(join(tmpdir(), 'vouchsafe-demo-'));
  const inFolder = (name: string) => join(folder, name);
  const events: NarrationEvent[] = [];
  const stage = openStage((event) => {
    events.push(event);
    tell(event);
  });
  const abort = () => void stage.close();
  signal?.addEventListener('abort', abort, { once: true });

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
      files,
      ...machine,
    } satisfies HostSettings);
    const { accepted, console } = (await host.ended) as HostResult;
    const unlocked = events.some(
      (event) => event.kind === 'sight' && event.subject === 'disk' && event.seenBy === 'guest',
    );
    return { accepted: accepted && unlocked, events, console, bootFiles: files.source };
  } finally {
    signal?.removeEventListener('abort', abort);
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

/** What the host saw against what the guest got, a row for each subject. */
export function sightTable(
  events: readonly NarrationEvent[],
): [subject: string, host: string, guest: string][] {
  const sights = events.filter((event): event is SightEvent => event.kind === 'sight');
  const of = (subject: string, seenBy: 'host' | 'guest') =>
    sights.find((each) => each.subject === subject && each.seenBy === seenBy)?.sight ?? '–';
  return [...new Set(sights.map(({ subject }) => subject))].map((subject) => [
    subject,
    of(subject, 'host'),
    of(subject, 'guest'),
  ]);
}
