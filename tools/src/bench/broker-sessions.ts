import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { generateTeeKey } from '@vouchsafe/protocol';
import { askFor, attest, opened } from '../broker-load/guest.js';
import { administrator, admitGuests, initialise, startReplica, storeSecret } from '../broker-load/replica.js';
import { connect } from '../broker-load/requests.js';
import { startPostgres } from '../postgres/cluster.js';
import { makeSoftwareChip } from '../software-chip/chip.js';
import { type Benchmark, median } from './measure.js';
import { sessionCryptography } from './session-cryptography.js';

const path = 'default/key/disk';
const secret = 'open sesame';
/** Guests at one time, and sessions of each in one round. */
const guests = 8;
const rounds = 2;

/**
 * Sessions of guests that attest and get a secret from a broker in a process of its own, on one core, against the
 * cryptography that they require. The guests, and a server of the database, run on what other cores there are.
 */
export async function brokerSessions(engine: 'sqlite' | 'postgres'): Promise<Omit<Benchmark, 'name'>> {
  const folder = mkdtempSync(join(tmpdir(), 'vouchsafe-bench-'));
  const chip = await makeSoftwareChip(join(folder, 'authority'));
  const cluster = engine === 'postgres' ? await startPostgres({ durable: true }) : undefined;
  const data = join(folder, 'broker');
  await initialise(data, chip, cluster?.createDatabase() ?? 'sqlite:broker.db');
  const replica = await startReplica(data, { wrapper: onOneCore() });
  await admitGuests(data, replica.address, chip);
  const connections = Array.from({ length: guests }, () => connect(replica.address));
  await storeSecret(administrator(data, connections[0]!.ask), path, secret);
  const raw = await sessionCryptography(chip);

  const times: number[] = [];
  const costs: number[] = [];
  const rawCosts: number[] = [];
  async function session(ask: (typeof connections)[number]['ask']): Promise<void> {
    const key = await generateTeeKey();
    const began = performance.now();
    const answer = await askFor(ask, await attest(ask, chip, key), path);
    times.push(performance.now() - began);
    if ((await opened(answer, key)) !== secret) throw new Error(`the broker answered ${answer.status}`);
  }
  async function guest({ ask }: (typeof connections)[number]): Promise<void> {
    for (let i = 0; i < rounds; i++) await session(ask);
  }
  return {
    unit: 'sessions/s',
    amount: guests * rounds,
    warmUpMs: 20_000,
    async ours() {
      const before = processorTime(replica.process.pid);
      await Promise.all(connections.map(guest));
      costs.push((processorTime(replica.process.pid) - before) / (guests * rounds));
    },
    raw() {
      const before = process.cpuUsage();
      for (let i = 0; i < guests * rounds; i++) raw();
      const { user, system } = process.cpuUsage(before);
      rawCosts.push((user + system) / 1000 / (guests * rounds));
    },
    notes() {
      // Those at the end: the first ones paid for compiling.
      const sorted = times.slice(times.length / 2).toSorted((a, b) => a - b);
      const at = (share: number) => `${sorted[Math.floor((sorted.length - 1) * share)]!.toFixed(1)} ms`;
      const [cost, rawCost] = [median(costs.slice(costs.length / 2)), median(rawCosts)];
      return [
        `${guests} guests at once, ${sorted.length} sessions: p50 ${at(0.5)}, p99 ${at(0.99)}`,
        `processor time of a session: ${cost.toFixed(2)} ms, of which cryptography ${rawCost.toFixed(2)} ms ` +
          `(${(rawCost / cost).toFixed(2)})`,
      ];
    },
    async close() {
      for (const connection of connections) connection.close();
      await replica.end();
      cluster?.stop();
      await chip.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Words that keep a process on the first core, where there is another for its clients. */
function onOneCore(): readonly string[] {
  if (process.platform !== 'linux' || availableParallelism() < 2) return [];
  try {
    execFileSync('taskset', ['-c', '0', 'true']);
    return ['taskset', '-c', '0'];
  } catch {
    return [];
  }
}

/** Milliseconds that a process has used so far, of all its threads; 0 where the system does not say. */
function processorTime(pid: number | undefined): number {
  if (process.platform !== 'linux') return 0;
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
  const ticks = Number(fields[11]) + Number(fields[12]);
  return (ticks * 1000) / 100;
}
