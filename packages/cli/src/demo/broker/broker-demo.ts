import type { ExplanationAnswer } from '../../commands/broker/explain.js';
import { onStage, startProcessor } from '../on-stage.js';
import type { KeyServiceReady, KeyServiceSettings } from '../roles/key-service.js';
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
export async function brokerDemo(play: Play): Promise<BrokerStory> {
  const { authority, progress } = play;
  return onStage(play, async (scene) => {
    const { stage, inFolder, files, events } = scene;
    progress('starting the secure processor');
    const { chip, hostSocket, guestSocket } = await startProcessor(scene, 32);
    progress('making a development root: two RSA keys of 4096 bits');
    const keyService = await stage.start<KeyServiceReady>('key service', {
      folder: authority,
      chip,
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
      const inside = { socket: guestSocket, broker: network.ready.address } satisfies GuestSettings;
      const guest = await stage.start('guest', inside, scriptOf('guest'));
      const outside = {
        act: 'launch',
        machineSocket: hostSocket,
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
  });
}
