import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generateTeeKey } from '@vouchsafe/protocol';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { secretText } from '../left-behind/secrets.js';
import { type PostgresCluster, postgresPrograms, startPostgres } from '../postgres/cluster.js';
import { askFor, attest, opened } from './guest.js';
import { administrator, storeSecret } from './replica.js';
import { connect } from './requests.js';
import { sessions, timeout } from './testing/amount.js';
import { entries, failedChecks } from './testing/record.js';
import { type Replicas, startReplicas } from './testing/replicas.js';

const path = 'default/key/disk';
const guests = 4;

describe.skipIf(postgresPrograms() === undefined)('two replicas on PostgreSQL (package postgresql)', () => {
  let cluster: PostgresCluster | undefined;
  let replicas: Replicas | undefined;
  beforeAll(async () => {
    cluster = await startPostgres();
    const folder = mkdtempSync(join(tmpdir(), 'vouchsafe-replicas-'));
    replicas = await startReplicas({ folder, database: cluster.createDatabase(), replicas: 2 });
  });
  afterAll(async () => {
    await replicas?.close();
    cluster?.stop();
  });

  it(
    `serve ${sessions} sessions, each request by the other one than the request before`,
    async () => {
      const { chip, balancer, folder } = replicas!;
      const admin = connect(balancer.address);
      const asAdministrator = administrator(folder, admin.ask);
      await storeSecret(asAdministrator, path, secretText('open sesame'));
      const before = [...balancer.sent];
      let begun = 0;
      const got: string[] = [];
      async function guest(): Promise<void> {
        const connection = connect(balancer.address);
        while (begun < sessions) {
          begun += 1;
          const key = await generateTeeKey();
          const cookie = await attest(connection.ask, chip, key);
          got.push(await opened(await askFor(connection.ask, cookie, path), key));
        }
        connection.close();
      }
      await Promise.all(Array.from({ length: guests }, guest));
      expect(got).toHaveLength(sessions);
      expect(new Set(got)).toEqual(new Set([secretText('open sesame')]));

      const [one = 0, two = 0] = balancer.sent.map((count, i) => count - (before[i] ?? 0));
      expect(one + two).toBe(3 * sessions);
      expect(Math.abs(one - two)).toBeLessThanOrEqual(guests);
      expect(await failedChecks(asAdministrator)).toEqual([]);
      const recorded = await entries(asAdministrator);
      const releases = recorded.filter(({ kind }) => kind === 'release');
      expect(releases).toHaveLength(sessions);
      expect(new Set(releases.map(({ replica }) => replica))).toEqual(new Set(['one', 'number 2']));
      // A session whose challenge, attestation and release are all of one replica would prove nothing.
      const chains = new Map<unknown, Set<string>>();
      for (const { kind, replica, body } of recorded) {
        if (kind !== 'challenge' && kind !== 'appraisal') continue;
        chains.set(body['session'], (chains.get(body['session']) ?? new Set()).add(replica));
      }
      expect([...chains.values()].every((names) => names.size === 2)).toBe(true);
      admin.close();
    },
    timeout,
  );
});
