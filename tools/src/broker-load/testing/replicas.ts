import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { build } from '../../../../packages/cli/src/testing/process.js';
import { testAuthorityKeys } from '../../../../packages/kds/src/testing/authority-keys.js';
import { makeSoftwareChip, type SoftwareChip } from '../../software-chip/chip.js';
import { type LoadBalancer, roundRobin } from '../load-balancer.js';
import { admitGuests, copyReplica, initialise, type Replica, startReplica } from '../replica.js';

/** Replicas of one broker in processes of their own, behind a load balancer, which admit the guests of one chip. */
export interface Replicas {
  readonly chip: SoftwareChip;
  /** Of the first replica. */
  readonly folder: string;
  readonly balancer: LoadBalancer;
  /** Kills one of them in the middle of everything, and starts it again. */
  kill(place: number): void;
  readonly kills: number;
  /** Resolves when all of them answer. */
  complete(): Promise<void>;
  close(): Promise<void>;
}

export interface ReplicasOptions {
  readonly folder: string;
  /** `sqlite:…` or `postgres://…` */
  readonly database: string;
  readonly replicas: number;
  readonly onRequest?: () => void;
}

export async function startReplicas({
  folder,
  database,
  replicas: amount,
  onRequest,
}: ReplicasOptions): Promise<Replicas> {
  await build();
  const chip = await makeSoftwareChip(join(folder, 'authority'), { generateKeys: testAuthorityKeys });
  const places = Array.from({ length: amount }, (_, place) => join(folder, `replica${place}`));
  const [first = '', ...others] = places;
  await initialise(first, chip, database);
  for (const [i, place] of others.entries()) copyReplica(first, place, `number ${i + 2}`);
  const running: Replica[] = [];
  for (const place of places) running.push(await startReplica(place));
  await admitGuests(first, running[0]!.address, chip);
  const balancer = await roundRobin(() => running.map(({ address }) => address), onRequest);

  let kills = 0;
  let complete: Promise<unknown> = Promise.resolve();
  async function replace(place: number): Promise<void> {
    await running[place]!.end('SIGKILL');
    running[place] = await startReplica(places[place]!);
  }
  return {
    chip,
    folder: first,
    balancer,
    kill(place) {
      kills += 1;
      complete = Promise.all([complete, replace(place)]);
      // Whoever waits for it learns of it.
      complete.catch(() => undefined);
    },
    get kills() {
      return kills;
    },
    async complete() {
      await complete;
    },
    async close() {
      await complete.catch(() => undefined);
      await balancer.close();
      for (const replica of running) await replica.end();
      await chip.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
