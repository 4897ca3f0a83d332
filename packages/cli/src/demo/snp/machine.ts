import { mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import type { TcbVersion } from '@vouchsafe/sev';
import type { ProcessorReady, ProcessorSettings } from '../roles/processor.js';
import type { Stage } from '../stage.js';
import type { Ending } from './restarts.js';
import type { GuestSettings } from './roles/guest.js';
import type { HostResult, HostSettings } from './roles/host.js';

/** A machine that is on, until one is switched on again. */
export interface DemoMachine {
  readonly chip: ProcessorReady;
  /** Launches a guest and lets it run to its end. */
  run(
    guest: Omit<GuestSettings, 'socket'>,
    host: Omit<HostSettings, 'machineSocket'>,
  ): Promise<{ readonly ending: Ending; readonly console: readonly string[] }>;
}

export interface SwitchOnOptions {
  /** Where the demo keeps its files. */
  readonly folder: string;
  /** Name of the chip, which remembers what it has committed. */
  readonly chip: string;
  /** TCB version of its firmware; the newest that there is when absent. */
  readonly tcb?: TcbVersion | undefined;
}

const memory = 32 * 1024 * 1024;
const scriptOf = (role: 'host' | 'guest') => new URL(`./roles/${role}.js`, import.meta.url);

/** Switches a machine on, and the one before off: nothing is left of its memory. */
export async function switchOn(stage: Stage, { folder, chip, tcb }: SwitchOnOptions): Promise<DemoMachine> {
  const sockets = await mkdtemp(join(folder, 'machine-'));
  const [hostSocket, guestSocket] = [join(sockets, 'host.sock'), join(sockets, 'guest.sock')];
  const settings = { folder: join(folder, chip), hostSocket, guestSocket, memory, tcb };
  const processor = await stage.start<ProcessorReady>('processor', settings satisfies ProcessorSettings);
  return {
    chip: processor.ready,
    async run(guestSettings, hostSettings) {
      const inside = { ...guestSettings, socket: guestSocket } satisfies GuestSettings;
      const guest = await stage.start('guest', inside, scriptOf('guest'));
      const outside = { ...hostSettings, machineSocket: hostSocket } satisfies HostSettings;
      const host = await stage.start('host', outside, scriptOf('host'));
      const { refused, console } = (await host.ended) as HostResult;
      return { ending: refused ?? ((await guest.ended) as Ending), console };
    },
  };
}
