import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExplanationAnswer } from '../../commands/broker/explain.js';
import { prepareBootFiles } from '../boot-files.js';
import type { NarrationEvent } from '../narration.js';
import type { KeyServiceReady, KeyServiceSettings } from '../roles/key-service.js';
import type { ProcessorReady, ProcessorSettings } from '../roles/processor.js';
import { openStage } from '../stage.js';
import type { Play, Story } from '../tell-story.js';
import type { GuestEnding, GuestSettings } from './roles/guest.js';
import type { HostSettings, NetworkReady } from './roles/host.js';
import type { OwnerReady, OwnerSettings } from './roles/owner.js';
import { releases } from './story-facts.js';

/** One denial with its explanation, and one release. */
export interface BrokerStory extends Story {
  /** What `broker explain` says of the denial; undefined when there was none. */
  readonly explanation?: ExplanationAnswer | undefined;
}

type OwnerAct =
  | { readonly act: 'explain'; readonly number: string }
  | { readonly act: 'publish'; readonly releases: readonly number[] }
  | { readonly act: 'verify' };

const scriptOf = (role: 'owner' | 'host' | 'guest') => new URL(`./roles/${role}.js`, import.meta.url);

/** The host launches a release that the owner has not published yet; the broker says why it denies it; the owner does. */
export async function brokerDemo({ authority, tell, progress, signal }: Play): Promise<BrokerStory> {
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
    const sockets = { hostSocket: inFolder('host.sock'), guestSocket: inFolder('guest.sock') };
    const chip = inFolder('chip');
    const processor = await stage.start<ProcessorReady>('processor', {
      folder: chip,
      ...sockets,
      memory: 32 * 1024 * 1024,
    } satisfies ProcessorSettings);
    progress('making a development root: two RSA keys of 4096 bits');
    const keyService = await stage.start<KeyServiceReady>('key service', {
      folder: authority,
      chip: processor.ready,
      endorses: 'VCEK',
    } satisfies KeyServiceSettings);
    const { address: service, ark } = keyService.ready;

    progress('making a key broker');
    const common = { data: inFolder('broker'), files };
    const owner = await stage.start<OwnerReady>(
      'owner',
      {
        ...common,
        act: 'open',
        keyService: service,
        ark: { file: inFolder('ark.der'), content: ark },
        release: releases.published,
      } satisfies OwnerSettings,
      scriptOf('owner'),
    );
    const ownerDoes = async (act: OwnerAct) => {
      const settings = { ...common, ...act } satisfies OwnerSettings;
      return (await stage.start('owner', settings, scriptOf('owner'))).ended;
    };
    const network = await stage.start<NetworkReady>(
      'host',
      { act: 'carry', broker: owner.ready.address } satisfies HostSettings,
      scriptOf('host'),
    );

    const launch = async (again: boolean) => {
      const inside = { socket: sockets.guestSocket, broker: network.ready.address } satisfies GuestSettings;
      const guest = await stage.start('guest', inside, scriptOf('guest'));
      const { hostSocket: machineSocket } = sockets;
      const outside = {
        act: 'launch',
        machineSocket,
        keyService: service,
        files,
        release: releases.launched,
        again,
      } as const;
      const host = await stage.start('host', outside satisfies HostSettings, scriptOf('host'));
      const console = (await host.ended) as string[];
      return { console, ending: (await guest.ended) as GuestEnding };
    };
    progress('launching');
    const first = await launch(false);
    const story = { events, console: first.console, bootFiles: files.source };
    if (first.ending.released) return { ...story, accepted: false };
    const { number } = first.ending;
    const explanation = (await ownerDoes({ act: 'explain', number })) as ExplanationAnswer;
    await ownerDoes({ act: 'publish', releases: [releases.published, releases.launched] });
    progress('launching again');
    const second = await launch(true);
    await ownerDoes({ act: 'verify' });
    return { ...story, accepted: second.ending.released, explanation };
  } finally {
    await stage.close();
    await rm(folder, { recursive: true, force: true });
  }
}
