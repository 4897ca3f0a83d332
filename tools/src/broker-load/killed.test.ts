import { randomInt } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generateTeeKey, teeKeyThumbprint } from '@vouchsafe/protocol';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { secretText } from '../left-behind/secrets.js';
import { type PostgresCluster, postgresPrograms, startPostgres } from '../postgres/cluster.js';
import { type Ask, askFor, attest, good, opened } from './guest.js';
import { administrator, storeSecret } from './replica.js';
import { connect } from './requests.js';
import { kills, timeout } from './testing/amount.js';
import { entries, failedChecks } from './testing/record.js';
import { type Replicas, startReplicas } from './testing/replicas.js';

/** Guests and an administrator who go on where a broker was killed under them, and what they were told. */
describe.each([
  { engine: 'SQLite', replicas: 1, needs: true },
  { engine: 'PostgreSQL', replicas: 2, needs: postgresPrograms() !== undefined },
])('brokers on $engine that are killed under load (PostgreSQL: package postgresql)', (setting) => {
  let cluster: PostgresCluster | undefined;
  let replicas: Replicas | undefined;
  let folder: string | undefined;
  /** Until the next kill. */
  let requests = Number.POSITIVE_INFINITY;
  let isOver = false;

  beforeAll(async () => {
    if (!setting.needs) return;
    folder = mkdtempSync(join(tmpdir(), 'vouchsafe-killed-'));
    if (setting.engine === 'PostgreSQL') cluster = await startPostgres();
    replicas = await startReplicas({
      folder,
      database: cluster?.createDatabase() ?? 'sqlite:broker.db',
      replicas: setting.replicas,
      onRequest: () => {
        requests -= 1;
        if (requests === 0) void killOne(replicas!);
      },
    });
  });
  afterAll(async () => {
    await replicas?.close();
    cluster?.stop();
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
  });

  /** The next one is killed when all answer again and some more requests are under way. */
  async function killOne(running: Replicas): Promise<void> {
    running.kill(randomInt(setting.replicas));
    await running.complete();
    if (running.kills < kills) requests = randomInt(1, 60);
    else isOver = true;
  }

  /** Sends a request again for as long as nobody answers it. */
  function persistent(ask: Ask): Ask {
    return async (question) => {
      for (let attempt = 0; attempt < 50; attempt++) {
        // An answer that broke off is none.
        const answer = await ask(question).catch(() => undefined);
        if (answer !== undefined && answer.status !== 502) return answer;
        if (attempt > 0) await replicas!.complete();
      }
      throw new Error(`nobody answers ${question.path}`);
    };
  }

  it.skipIf(!setting.needs)(
    `lose nothing that they acknowledged, ${kills} times`,
    async () => {
      const { chip, balancer, folder } = replicas!;
      const stored: string[] = [];
      const holders = new Map<string, string[]>();
      const refused = new Map<string, number>();

      async function guest(path: string): Promise<void> {
        const connection = connect(balancer.address);
        const ask = persistent(connection.ask);
        const key = await generateTeeKey();
        const cookie = await attest(ask, chip, key);
        const answer = await askFor(ask, cookie, path);
        if (answer.status === 200) {
          expect(await opened(answer, key)).toBe(secretText(path));
          holders.set(path, [...(holders.get(path) ?? []), await teeKeyThumbprint(key.publicKey)]);
          // What was released to it stays its own.
          expect(await opened(await askFor(ask, cookie, path), key)).toBe(secretText(path));
        } else {
          expect(answer.status).toBe(403);
          refused.set(path, (refused.get(path) ?? 0) + 1);
        }
        connection.close();
      }
      async function rounds(name: string): Promise<void> {
        const connection = connect(balancer.address);
        const asAdministrator = administrator(folder, persistent(connection.ask));
        for (let round = 1; !isOver; round++) {
          const path = `once/${name}/number-${round}`;
          await storeSecret(asAdministrator, path, secretText(path), 1);
          stored.push(path);
          await Promise.all([guest(path), guest(path)]);
        }
        connection.close();
      }
      requests = randomInt(1, 60);
      await Promise.all(['a', 'b', 'c', 'd'].map(rounds));
      expect(replicas!.kills).toBe(kills);

      // One of two keys has each secret, and the other one has not.
      expect(stored.map((path) => [path, holders.get(path)?.length, refused.get(path)])).toEqual(
        stored.map((path) => [path, 1, 1]),
      );
      const connection = connect(balancer.address);
      const asAdministrator = administrator(folder, connection.ask);
      const { text } = await good(asAdministrator, { method: 'GET', path: '/v1/secrets' });
      const kept = JSON.parse(text) as { path: string; versions: { version: number; released: number }[] }[];
      const released = new Map(kept.map(({ path, versions }) => [path, versions[0]?.released]));
      expect(stored.map((path) => [path, released.get(path)])).toEqual(stored.map((path) => [path, 1]));

      expect(await failedChecks(asAdministrator)).toEqual([]);
      const counted = (await entries(asAdministrator)).filter(
        ({ kind, body }) => kind === 'release' && body['counted'] === true,
      );
      const keysOf = new Map<unknown, unknown[]>();
      for (const { subject, body } of counted)
        keysOf.set(subject, [...(keysOf.get(subject) ?? []), body['guestKey']]);
      expect(stored.map((path) => [path, keysOf.get(path)])).toEqual(
        stored.map((path) => [path, holders.get(path)]),
      );
      connection.close();
    },
    timeout,
  );
});
