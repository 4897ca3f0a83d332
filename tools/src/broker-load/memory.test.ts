import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generateTeeKey } from '@vouchsafe/protocol';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { build } from '../../../packages/cli/src/testing/process.js';
import { testAuthorityKeys } from '../../../packages/kds/src/testing/authority-keys.js';
import { makeSoftwareChip, type SoftwareChip } from '../software-chip/chip.js';
import { type Ask, askFor, attest, good } from './guest.js';
import {
  administrator,
  admitGuests,
  initialise,
  type Replica,
  startReplica,
  storeSecret,
} from './replica.js';
import { connect } from './requests.js';
import { manySessions, timeout } from './testing/amount.js';

const path = 'default/key/disk';
const mebibyte = 2 ** 20;
/** Little room, so that what is not needed any more is collected often. */
const room = 160;
/** What the heap may grow by from one half of the sessions to the other: code is still being compiled. */
const growth = 12 * mebibyte;

const folder = mkdtempSync(join(tmpdir(), 'vouchsafe-memory-'));
let chip: SoftwareChip | undefined;
let replica: Replica | undefined;

beforeAll(async () => {
  await build();
  chip = await makeSoftwareChip(join(folder, 'authority'), { generateKeys: testAuthorityKeys });
  const data = join(folder, 'broker');
  await initialise(data, chip);
  const environment = { NODE_OPTIONS: `--max-old-space-size=${room}` };
  replica = await startReplica(data, { environment });
  await admitGuests(data, replica.address, chip);
  const connection = connect(replica.address);
  await storeSecret(administrator(data, connection.ask), path, 'open sesame');
  connection.close();
});
afterAll(async () => {
  await replica?.end();
  await chip?.close();
  rmSync(folder, { recursive: true, force: true });
});

it(
  `the memory of a broker does not grow over ${manySessions} sessions`,
  async () => {
    const samples: number[] = [];
    let begun = 0;
    const key = await generateTeeKey();
    async function guest(): Promise<void> {
      const { ask, close } = connect(replica!.address);
      while (begun < manySessions) {
        begun += 1;
        const sample = begun % Math.ceil(manySessions / 400) === 0;
        const cookie = await attest(ask, chip!, key);
        expect((await askFor(ask, cookie, path)).status).toBe(200);
        if (sample) samples.push(await heapUsed(ask));
      }
      close();
    }
    await Promise.all([guest(), guest(), guest(), guest()]).catch((cause: unknown) => {
      const { exitCode, signalCode } = replica!.process;
      const state = exitCode ?? signalCode ?? 'running';
      throw new Error(`session ${begun}: ${String(cause)}; the broker, ${state}: ${replica!.output()}`);
    });
    // The least of each half is what remains when everything else has just been collected; the beginning does not count.
    const part = (from: number, to: number) =>
      Math.min(...samples.slice(samples.length * from, samples.length * to));
    const [before, after] = [part(0.2, 0.6), part(0.6, 1)];
    expect(after - before, `from ${before} to ${after} bytes`).toBeLessThan(growth);
  },
  timeout,
);

/** Bytes of the broker's heap in use. */
async function heapUsed(ask: Ask): Promise<number> {
  const { text } = await good(ask, { method: 'GET', path: '/metrics' });
  return Number(/^nodejs_heap_size_used_bytes (\S+)$/m.exec(text)?.[1]);
}
