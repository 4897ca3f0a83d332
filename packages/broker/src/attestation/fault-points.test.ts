import pg from 'pg';
import { expect, it } from 'vitest';
import { openDatabase } from '../state/database.js';
import { copyOfFiles, Executioner } from '../state/testing/crash.js';
import { onEveryEngine } from '../state/testing/engines.js';
import {
  administrator,
  makeBroker,
  makeGuest,
  publish,
  storeSecret,
  type TestBroker,
  theSecret,
} from '../testing/broker.js';

const path = 'repo/type/tag';

/** Every fault point in `npm run test:full`; in the daily run every fifth. */
const everyPoint = process.env['VOUCHSAFE_FULL'] === '1';
const step = everyPoint ? 1 : 5;

type Guest = Awaited<ReturnType<typeof makeGuest>>;
type Service = Pick<TestBroker['broker'], 'app'>;

/** How far a guest got before nobody answered it any more. */
interface Progress {
  readonly cookie?: string;
  readonly body?: string;
  readonly released?: string;
}

onEveryEngine('a broker that is killed between two statements of a session', (newDatabase) => {
  /** A broker that has a one-time secret, closed; and copies of its database. */
  async function prepared(): Promise<{ made: TestBroker; copy: () => Promise<string> }> {
    const made = await makeBroker({ database: newDatabase() });
    await publish(made);
    await storeSecret(made, path, theSecret, { releases: 1 });
    await made.broker.close();
    return { made, copy: () => copyOf(made.database, newDatabase) };
  }

  async function session(broker: Service, guest: Guest): Promise<Progress> {
    const { status, cookie, nonce = '' } = await guest.challenge(broker);
    if (status !== 200 || cookie === undefined) return {};
    const body = await guest.evidence(nonce);
    if ((await guest.attest(broker, cookie, body)).status !== 200) return { cookie, body };
    const answer = await guest.get(broker, path, { cookie });
    return answer.status === 200 ? { cookie, body, released: await guest.open(answer) } : { cookie, body };
  }

  /** The same again at another replica: what the guest had sent already, and what comes after it. */
  async function goOn(broker: Service, guest: Guest, { cookie, body }: Progress): Promise<Progress> {
    if (cookie === undefined || body === undefined) return session(broker, guest);
    expect((await guest.attest(broker, cookie, body)).status).toBe(200);
    const answer = await guest.get(broker, path, { cookie });
    expect(answer.status).toBe(200);
    return { cookie, body, released: await guest.open(answer) };
  }

  it('has released to one key or to none, and goes on there', { timeout: 600_000 }, async () => {
    const { made, copy } = await prepared();
    const { silicon, token } = made;
    const counts: number[] = [];
    const reached = new Set<string>();
    for (let n = step, isOver = false; !isOver; n += step) {
      const url = await copy();
      const witness = await openDatabase(url);
      const executioner = new Executioner(url, witness);
      const doomed = await made.open({ database: url, faultPoint: executioner.faultPoint });
      const guest = await makeGuest(silicon.endorser);
      executioner.killAt(n);
      const progress = await session(doomed, guest);
      isOver = executioner.left === undefined;
      expect(progress.released !== undefined, `fault point ${n}`).toBe(isOver);
      reached.add(Object.keys(progress).join());
      executioner.spare();
      await doomed.close().catch(() => undefined);
      await witness.close();

      const survivor = await made.open({ database: executioner.left ?? url, replica: 'two' });
      const admin = administrator(survivor, token);
      const { json: verified } = await admin.get<{ checks: { id: string; status: string }[] }>(
        '/v1/audit/verify',
      );
      expect(
        verified.checks.filter(({ status }) => status === 'fail'),
        `fault point ${n}`,
      ).toEqual([]);
      const entries = await admin.get<{ body: { counted: boolean; guestKey: string } }[]>(
        '/v1/audit/entries?kind=release',
      );
      const { json: secret } = await admin.get<{ versions: { released: number }[] }>(`/v1/secrets/${path}`);
      const counted = entries.json.filter(({ body }) => body.counted).length;
      expect(secret.versions[0]?.released, `fault point ${n}`).toBe(counted);
      counts.push(counted);

      const again = await goOn(survivor, guest, progress);
      expect(again.released, `fault point ${n}`).toBe(theSecret);
      const stranger = await makeGuest(silicon.endorser);
      const attested = await stranger.attested(survivor);
      const refused = await stranger.get(survivor, path, { cookie: attested.cookie });
      expect([refused.status, refused.json.type], `fault point ${n}`).toEqual([403, expect.any(String)]);
      await survivor.close();
    }
    // Killed in each of the three steps; and the release happened at one point, once and for all.
    expect([...reached]).toEqual(['', 'cookie,body', 'cookie,body,released']);
    const first = counts.indexOf(1);
    expect(first * step).toBeGreaterThan(20);
    expect(counts).toEqual(counts.map((_, i) => (i < first ? 0 : 1)));
  });
});

/** The same database under another name. */
async function copyOf(url: string, newDatabase: () => string): Promise<string> {
  if (url.startsWith('sqlite:')) return copyOfFiles(url);
  const made = newDatabase();
  const nameOf = (address: string) => new URL(address).pathname.slice(1);
  const client = new pg.Client({ connectionString: url.replace(/[^/]+$/, 'postgres') });
  await client.connect();
  try {
    await client.query(`drop database ${nameOf(made)}`);
    await client.query(`create database ${nameOf(made)} template ${nameOf(url)}`);
  } finally {
    await client.end();
  }
  return made;
}
