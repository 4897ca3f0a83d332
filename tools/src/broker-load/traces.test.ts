import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generateTeeKey, rcarPaths } from '@vouchsafe/protocol';
import { toBase64 } from '@vouchsafe/sev';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { build, runProcess } from '../../../packages/cli/src/testing/process.js';
import { testAuthorityKeys } from '../../../packages/kds/src/testing/authority-keys.js';
import { filesBelow, type Marker, tracesBelow, tracesIn } from '../left-behind/traces.js';
import { type PostgresCluster, postgresPrograms, startPostgres } from '../postgres/cluster.js';
import { makeSoftwareChip, type SoftwareChip } from '../software-chip/chip.js';
import { askFor, attest, opened } from './guest.js';
import { administrator, admitGuests, initialise, type Replica, startReplica } from './replica.js';
import { type Answer, connect, type Question } from './requests.js';

const utf8 = (text: string) => new TextEncoder().encode(text);
const marker = (name: string, bytes: Uint8Array): Marker => ({ name, bytes });
/** Text, so that it fits into names and headers, too. */
const marked = (name: string) => marker(name, utf8(`marker${randomBytes(16).toString('hex')}`));

it('the search finds a secret in every form', () => {
  const bytes = utf8('correct horse battery staple');
  const secret = marker('secret', bytes);
  expect(tracesIn('nothing', [secret])).toEqual([]);
  expect(tracesIn(`x${'correct horse battery staple'}x`, [secret])).toEqual(['secret, as it is']);
  expect(tracesIn(Buffer.from('ab correct horse battery staple', 'utf16le'), [secret])).toHaveLength(1);
  expect(tracesIn(`\\x${Buffer.from(bytes).toString('hex')}`, [secret])).toHaveLength(1);
  for (const before of ['', '1', '12', '123']) {
    const text = Buffer.from(`${before}correct horse battery staple, and more`).toString('base64');
    expect(tracesIn(text, [secret]).length, before).toBeGreaterThan(0);
  }
});

describe.each([
  { engine: 'SQLite', needed: true },
  { engine: 'PostgreSQL', needed: postgresPrograms() !== undefined },
])(
  'a broker on $engine that stored, released, denied and explained (PostgreSQL: package postgresql)',
  (setting) => {
    const folder = mkdtempSync(join(tmpdir(), 'vouchsafe-traces-'));
    const data = join(folder, 'broker');
    /** Where the broker is told to put temporary files. */
    const temporary = join(folder, 'temporary');
    const secret = marked('secret');
    const replaced = marked('replaced version');
    const rejected = marked('rejected secret');
    const tag = marked('name of the secret');
    const path = `default/key/${Buffer.from(tag.bytes)}`;
    let cluster: PostgresCluster | undefined;
    let chip: SoftwareChip | undefined;
    let replica: Replica | undefined;
    let database = 'sqlite:broker.db';
    /** Everything that it answered, but for what a guest got sealed and an auditor in the clear. */
    const answers: string[] = [];
    const printed: string[] = [];
    const guestSecrets: Marker[] = [];

    beforeAll(async () => {
      if (!setting.needed) return;
      await build();
      if (setting.engine === 'PostgreSQL') {
        cluster = await startPostgres();
        database = cluster.createDatabase();
      }
      mkdirSync(temporary);
      chip = await makeSoftwareChip(join(folder, 'authority'), { generateKeys: testAuthorityKeys });
      await initialise(data, chip, database);
      replica = await startReplica(data, {
        log: 'debug',
        environment: { TMPDIR: temporary, TMP: temporary, TEMP: temporary, NODE_ENV: 'development' },
      });
      await admitGuests(data, replica.address, chip);
      await work(replica, chip);
    });
    afterAll(async () => {
      await replica?.end();
      await chip?.close();
      cluster?.stop();
      rmSync(folder, { recursive: true, force: true });
    });

    async function vouchsafe(...words: string[]): Promise<string> {
      const { exit, stdout, stderr } = await runProcess(['broker', ...words, '--data', data]);
      printed.push(stdout, stderr);
      if (exit !== 0) throw new Error(`broker ${words.join(' ')}: ${stderr}`);
      return stdout;
    }

    async function work({ address }: Replica, silicon: SoftwareChip): Promise<void> {
      const connection = connect(address);
      const ask = async (question: Question): Promise<Answer> => {
        const answer = await connection.ask(question);
        answers.push(JSON.stringify(answer.headers), answer.text);
        return answer;
      };
      const admin = administrator(data, ask);
      const input = join(folder, 'input');
      for (const content of [replaced, secret]) {
        writeFileSync(input, content.bytes, { mode: 0o600 });
        await vouchsafe('secret', 'put', path, '--from', input, '--releases', '1');
      }
      rmSync(input);

      const key = await generateTeeKey();
      const quiet = connection.ask;
      const cookie = await attest(quiet, silicon, key);
      guestSecrets.push(marker('cookie', utf8(cookie.split('=')[1]!)));
      const released = await askFor(ask, cookie, path);
      expect(utf8(await opened(released, key))).toEqual(secret.bytes);

      const other = await attest(quiet, silicon, await generateTeeKey());
      const denied = await askFor(ask, other, path);
      expect(denied.status).toBe(403);
      const [number = ''] = /\d{4}(-\d{4}){3}/.exec(denied.text) ?? [];
      const explained = await vouchsafe('explain', number);
      expect(explained).toContain('used-up');
      expect(await vouchsafe('audit', 'verify')).toContain('record.chain');
      await vouchsafe('audit', 'tail', '--limit', '100');
      await vouchsafe('audit', 'export', '--out', join(folder, 'record.ndjson'));

      // Requests that fail at every step, with a secret in them.
      const text = Buffer.from(rejected.bytes).toString();
      const put = { method: 'PUT', path: '/v1/secrets/default/key/other' } as const;
      const failures: Question[] = [
        { ...put, body: `{"content":"${text}` },
        { ...put, body: JSON.stringify({ content: `${text}!` }) },
        { ...put, body: JSON.stringify({ content: toBase64(rejected.bytes), notBefore: text }) },
        { ...put, body: JSON.stringify({ content: toBase64(rejected.bytes), extra: text }) },
        { ...put, body: JSON.stringify({ content: toBase64(rejected.bytes), policy: 'there-is-none' }) },
        { ...put, headers: { 'content-type': 'text/plain' }, body: text },
        { ...put, headers: { authorization: `Bearer ${text}` }, body: JSON.stringify({ content: text }) },
        { ...put, path: '/v1/secrets/only-two/parts', body: JSON.stringify({ content: text }) },
        { method: 'POST', path: rcarPaths.auth, body: text },
        { method: 'POST', path: rcarPaths.attest, headers: { cookie }, body: `{"tee-evidence":"${text}"}` },
        { method: 'GET', path: `${rcarPaths.resource}/a/b/c`, headers: { authorization: `Bearer ${text}` } },
        {
          method: 'GET',
          path: `${rcarPaths.resource}/${text}`,
          headers: { cookie: `kbs-session-id=${text}` },
        },
      ];
      for (const question of failures) {
        const { status } = await admin(question);
        expect(status, JSON.stringify(question)).toBeGreaterThanOrEqual(400);
        expect(status, JSON.stringify(question)).toBeLessThan(500);
      }
      const metrics = await ask({ method: 'GET', path: '/metrics' });
      expect(metrics.text).toContain('vouchsafe_releases_total{outcome="released"} 1');
      for (const page of ['/v1/status', '/openapi.json', '/readyz'])
        await admin({ method: 'GET', path: page });
      connection.close();
    }

    const file = (name: string) => readFileSync(join(data, name), 'utf8').trim();
    const stored = () => [secret, replaced, rejected];
    /** Everything that nobody but its holder may know. */
    const all = () => [
      ...stored(),
      ...guestSecrets,
      marker('admin token', utf8(file('admin.token'))),
      marker('master key', Buffer.from(file('master.key'), 'base64')),
    ];

    it.skipIf(!setting.needed)('leaves no secret in its answers and errors', () => {
      expect(answers.length).toBeGreaterThan(20);
      const [token, master] = all().slice(-2) as [Marker, Marker];
      expect(answers.filter((answer) => tracesIn(answer, [...stored(), token, master]).length > 0)).toEqual(
        [],
      );
    });

    it.skipIf(!setting.needed)('leaves none in what commands print, nor in the exported record', () => {
      expect(tracesIn(printed.join('\n'), all())).toEqual([]);
      const record = readFileSync(join(folder, 'record.ndjson'));
      expect(tracesIn(record, all())).toEqual([]);
      // An auditor sees names: the search does look into what was exported.
      expect(tracesIn(record, [tag])).not.toEqual([]);
    });

    it.skipIf(!setting.needed)('leaves none in its log, names of secrets included', () => {
      const output = replica!.output();
      expect(output).toContain('"route":"/kbs/v0/resource/*"');
      expect(tracesIn(output, [...all(), tag])).toEqual([]);
    });

    it.skipIf(!setting.needed)('leaves none in its metrics, names of secrets included', async () => {
      const connection = connect(replica!.address);
      const { text } = await connection.ask({ method: 'GET', path: '/metrics' });
      connection.close();
      expect(tracesIn(text, [...all(), tag])).toEqual([]);
    });

    it.skipIf(!setting.needed || process.platform !== 'linux')(
      'leaves none in its arguments, its environment and the names of its files',
      () => {
        const about = `/proc/${replica!.process.pid}`;
        const words = readFileSync(`${about}/cmdline`, 'utf8');
        expect(words).toContain('broker\0serve');
        expect(tracesIn(words, [...all(), tag])).toEqual([]);
        expect(tracesIn(readFileSync(`${about}/environ`), [...all(), tag])).toEqual([]);
        expect(tracesIn(filesBelow(folder).join('\n'), [...all(), tag])).toEqual([]);
      },
    );

    it.skipIf(!setting.needed)(
      'leaves none in its database, its other files and temporary ones',
      async () => {
        const check = () => {
          expect(tracesBelow(temporary, [...all(), tag])).toEqual([]);
          const [token, master] = all().slice(-2) as [Marker, Marker];
          const others = all().slice(0, -2);
          expect(tracesBelow(data, [...others, tag])).toEqual([]);
          // The two that are kept here lie in their own files and in no other.
          expect(tracesBelow(data, [token])).toEqual(['admin.token: admin token, as it is']);
          expect(tracesBelow(data, [master]).map((trace) => trace.split(':')[0])).toContain('master.key');
          expect(new Set(tracesBelow(data, [master]).map((trace) => trace.split(':')[0]))).toEqual(
            new Set(['master.key']),
          );
        };
        check();
        if (cluster !== undefined) {
          const dump = execFileSync(join(postgresPrograms()!, 'pg_dump'), ['--inserts', database]);
          expect(dump.includes('resource_versions')).toBe(true);
          expect(tracesIn(dump, [...all(), tag])).toEqual([]);
        } else {
          expect(filesBelow(data)).toEqual(expect.arrayContaining(['broker.db', 'broker.db-wal']));
          expect(readFileSync(join(data, 'broker.db-wal')).includes('challenged')).toBe(true);
        }
        // What a killed broker leaves, and one that ended in peace.
        await replica!.end('SIGKILL');
        check();
        replica = await startReplica(data, { environment: { TMPDIR: temporary } });
        await replica.end();
        check();
        replica = undefined;
      },
    );
  },
);
