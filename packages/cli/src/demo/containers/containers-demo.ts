import type { BrokerCounts } from '../brokered/demo-broker.js';
import { markers } from '../brokered/machine.js';
import type { HostResult, HostSettings } from '../brokered/roles/host.js';
import type { CountedKeyServiceSettings } from '../brokered/roles/key-service.js';
import type { NarrationEvent } from '../narration.js';
import { onStage, startProcessor } from '../on-stage.js';
import type { KeyServiceReady } from '../roles/key-service.js';
import type { Play, Story } from '../tell-story.js';
import { type ColdStarts, spreadOf } from './cold-starts.js';
import type { GuestSettings, GuestStart } from './roles/guest.js';
import type { OwnerReady, OwnerSettings } from './roles/owner.js';

/** An image that only measured machines can open, and how long it takes them to prove that they may. */
export interface ContainersStory extends Story {
  readonly encryptedBy: string;
  /** Digests of the layers before they were encrypted, the lowest first. */
  readonly layers: readonly string[];
  /** Machines in which exactly those came out. */
  readonly matching: number;
  /** Layers that the host can read. */
  readonly readableLayers: number;
  readonly coldStarts: ColdStarts;
}

export interface ContainersPlay extends Play {
  /** Machines that are started, one after the other. */
  readonly starts: number;
}

export async function containersDemo(play: ContainersPlay): Promise<ContainersStory> {
  const { authority, progress, starts } = play;
  const scriptOf = (path: string) => new URL(path, import.meta.url);
  return onStage(play, async (scene) => {
    const { stage, inFolder, files, events } = scene;
    progress('starting the secure processor');
    const { chip, hostSocket, guestSocket } = await startProcessor(scene, 32);

    progress('making a development root: two RSA keys of 4096 bits');
    const keyService = await stage.start<KeyServiceReady>(
      'key service',
      { folder: authority, chip } satisfies CountedKeyServiceSettings,
      scriptOf('../brokered/roles/key-service.js'),
    );

    progress('encrypting an image');
    const encrypted = inFolder('encrypted');
    const { address, ark } = keyService.ready;
    const begin = { files, folder: inFolder('owner'), encrypted, keyService: address, ark };
    const ownerScript = scriptOf('./roles/owner.js');
    const owner = await stage.start<OwnerReady>('owner', { begin } satisfies OwnerSettings, ownerScript);
    const { commandLine, encryptedBy, layers } = owner.ready;

    progress(starts === 1 ? 'starting a machine' : `starting ${starts} machines`);
    const guest = await stage.start(
      'guest',
      { socket: guestSocket, encrypted, starts } satisfies GuestSettings,
      scriptOf('./roles/guest.js'),
    );
    const host = await stage.start(
      'host',
      {
        machineSocket: hostSocket,
        keyService: address,
        files,
        commandLine,
        starts,
        image: encrypted,
      } satisfies HostSettings,
      scriptOf('../brokered/roles/host.js'),
    );
    const [inside, outside] = (await Promise.all([guest.ended, host.ended])) as [
      readonly GuestStart[],
      HostResult,
    ];
    const { ready: counts } = await stage.start<BrokerCounts>(
      'owner',
      {} satisfies OwnerSettings,
      ownerScript,
    );

    const { times, console, readableLayers } = outside;
    const coldStarts = summary(inside, times, counts, events);
    const matching = inside.filter((start) => start.layers.join() === layers.join()).length;
    const accepted =
      matching === starts &&
      readableLayers === 0 &&
      coldStarts.attested === starts &&
      coldStarts.rounds === starts &&
      coldStarts.keyService.later === 0;
    const { source: bootFiles } = files;
    return {
      ...{ accepted, events, console, bootFiles, encryptedBy, layers, matching, readableLayers, coldStarts },
    };
  });
}

function summary(
  inside: readonly GuestStart[],
  times: readonly number[],
  counts: BrokerCounts,
  events: readonly NarrationEvent[],
): ColdStarts {
  const attestations = inside.map(({ attestation }) => attestation);
  return {
    starts: times.length,
    attested: counts.attested,
    rounds: counts.challenges,
    coldStart: spreadOf(times),
    attestation: spreadOf(attestations),
    share: spreadOf(attestations.map((time, index) => time / (times[index] ?? Number.NaN))),
    keyService: keyServiceRequests(events),
  };
}

/** Whoever asks waits until the answer has been told, so that the events stand in the order of what caused them. */
function keyServiceRequests(events: readonly NarrationEvent[]): ColdStarts['keyService'] {
  const counted = { beforeFirst: 0, first: 0, later: 0 };
  let phase: keyof typeof counted = 'beforeFirst';
  for (const event of events) {
    if (event.kind !== 'step') continue;
    if (event.what.startsWith(markers.firstStart)) phase = 'first';
    if (event.what.startsWith(markers.laterStarts)) phase = 'later';
    if (event.at === 'key service' && event.what.startsWith(markers.keyServiceAnswers)) counted[phase] += 1;
  }
  return counted;
}
