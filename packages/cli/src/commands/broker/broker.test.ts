import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type AttestationDevice, buildGuestFirmware, serveAttestationSocket } from '@vouchsafe/guest';
import { serveKds } from '@vouchsafe/kds';
import {
  buildCertificateTable,
  certificateTableGuids,
  fromHex,
  toHex,
  UnavailableError,
} from '@vouchsafe/sev';
import { describe, expect, it, onTestFinished } from 'vitest';
import { secretText } from '../../../../../tools/src/left-behind/secrets.js';
import { endorsedChip } from '../../../../kds/src/testing/snp-chip.js';
import { temporaryFolder } from '../../../../kds/src/testing/temporary.js';
import { makeReport } from '../../../../sev/src/testing/reports.js';
import { run, runJson, type Started, start } from '../../testing/run.js';

const measurement = toHex(new Uint8Array(48).fill(0x3e));

/** A broker of its own for each test: folder, key service, and a guest's attestation device. */
async function world() {
  const folder = temporaryFolder();
  const at = (name: string) => join(folder, name);
  const { authority, key, chip, vcek } = await endorsedChip('Milan', {
    folder: at('authority'),
    now: Date.now,
  });
  const kds = await serveKds(authority);
  onTestFinished(() => kds.close());
  const device: AttestationDevice = {
    kind: 'software',
    async report({ reportData }) {
      const report = await makeReport(key, { fields: { vmpl: 0, reportData, chipId: chip.chipId } });
      const certificateTable = buildCertificateTable([{ guid: certificateTableGuids.VCEK, bytes: vcek }]);
      return { report, certificateTable };
    },
    deriveKey: async () => {
      throw new UnavailableError('device', 'it has no keys');
    },
    close: async () => undefined,
  };
  const socket = await serveAttestationSocket(device, at('device'));
  onTestFinished(() => socket.close());
  const data = ['--data', at('broker')];
  const made = await runJson<{ token: string; referenceIssuer: string }>([
    'broker',
    'init',
    ...data,
    '--root',
    join(at('authority'), 'milan', 'ark.der'),
    '--platform-root',
    join(at('authority'), 'milan', 'ark.cert'),
    '--kds',
    kds.url,
    '--listen',
    '127.0.0.1:0',
  ]);
  expect(made.exit, made.stderr).toBe(0);
  let served: Started<{ address: string; roots: string[] }> | undefined;
  const serve = async (...more: string[]) => {
    served = await start<{ address: string; roots: string[] }>(['broker', 'serve', ...data, ...more]);
    return served;
  };
  onTestFinished(async () => {
    await served?.stop();
  });
  const ask = <T = unknown>(...words: string[]) => runJson<T>(['broker', ...words, ...data]);
  const fetchSecret = (address: string, out: string) =>
    run([
      'guest',
      'secrets',
      'get',
      'kbs:///web/key/one',
      '--broker',
      address,
      '--device',
      `socket:${at('device')}`,
      '--out',
      at(out),
    ]);
  return { at, data, ask, serve, fetchSecret, made: made.document };
}

describe('a broker on the command line', () => {
  it('is made, denies, explains, is told otherwise, and releases', async () => {
    const { at, ask, data, serve, fetchSecret, made } = await world();
    for (const file of ['master.key', 'admin.token', 'reference-issuer.jwk', 'broker.db', 'checkpoint.json'])
      expect(statSync(at(`broker/${file}`)).mode & 0o777, file).toBe(0o600);
    expect(statSync(at('broker')).mode & 0o777).toBe(0o700);
    const token = readFileSync(made.token, 'utf8').trim();

    const { document, stop } = await serve();
    expect(document.roots).toEqual(['Vouchsafe Development, Milan']);
    writeFileSync(at('key'), secretText('the key itself'));
    expect((await ask('secret', 'put', 'web/key/one', '--from', at('key'))).exit).toBe(0);

    const denied = await fetchSecret(document.address, 'first');
    expect(denied.exit).not.toBe(0);
    const number = /number ([0-9-]{19})/.exec(denied.stderr)?.[1] ?? '';
    const explained = await run(['broker', 'explain', number, ...data]);
    expect(explained.exit).toBe(0);
    for (const text of ['denied by demand.measurement', measurement, 'denied by deny-all', 'what to do'])
      expect(explained.stdout).toContain(text);

    expect((await ask('reference', 'publish', '--measurement', measurement)).exit).toBe(0);
    const set = await ask<{ version: number }>('policy', 'set', 'default', '--measurement', measurement);
    expect([set.exit, set.document.version]).toEqual([0, 2]);
    const released = await fetchSecret(document.address, 'second');
    expect(released.exit, released.stderr).toBe(0);
    expect(readFileSync(at('second'), 'utf8')).toBe(secretText('the key itself'));

    const tail = await ask<{ kind: string }[]>('audit', 'tail', '--limit', '2');
    expect(tail.document.map(({ kind }) => kind)).toEqual(['decision', 'release']);
    const verified = await ask<{ accepted: boolean }>('audit', 'verify');
    expect([verified.exit, verified.document.accepted]).toEqual([0, true]);
    const shown = await run(['broker', 'audit', 'tail', ...data]);
    expect(shown.stdout).toContain('allowed by ready-made');

    const stopped = await stop();
    expect(stopped.exit).toBe(0);
    for (const text of [stopped.stdout, stopped.stderr, shown.stdout, explained.stdout]) {
      expect(text).not.toContain(secretText('the key itself'));
      expect(text).not.toContain(token);
    }
    const after = await ask('status');
    expect([after.exit, after.stdout]).toEqual([2, expect.stringContaining('no broker is running')]);
  });

  it('administers secrets, policies, reference values and tokens', async () => {
    const { at, ask, data, serve } = await world();
    await serve();
    writeFileSync(at('s'), 's');
    expect((await ask('secret', 'put', 'a/b/c', '--from', at('s'), '--releases', '1')).exit).toBe(0);
    expect((await ask('secret', 'put', 'a/b/c', '--from', at('s'))).document).toEqual({
      path: 'a/b/c',
      version: 2,
    });
    expect((await ask('secret', 'disable', 'a/b/c', '--secret-version', '1')).exit).toBe(0);
    expect((await ask('secret', 'enable', 'a/b/c', '--secret-version', '1')).exit).toBe(0);
    expect((await ask('secret', 'delete', 'a/b/c')).exit).toBe(2);
    expect((await ask('secret', 'delete', 'a/b/c', '--secret-version', '1')).exit).toBe(0);
    expect((await ask('secret', 'disable', 'a/b/none')).exit).toBe(3);
    expect((await ask('secret', 'put', '../b/c', '--from', at('s'))).exit).toBe(2);
    const listed = await run(['broker', 'secret', 'list', ...data]);
    expect(listed.stdout).toContain('2; 1 (deleted, 0 of 1 released)');

    writeFileSync(at('p.cedar'), '@id("all") permit (principal, action, resource);');
    expect((await ask('policy', 'set', 'web', '--from', at('p.cedar'))).exit).toBe(0);
    expect((await ask('secret', 'policy', 'a/b/c', '--policy', 'web')).exit).toBe(0);
    expect((await ask('policy', 'set', 'web', '--from', at('p.cedar'), '--machines', '3')).exit).toBe(2);
    writeFileSync(at('bad.cedar'), 'permit (principal, action, resource) when { principal.nothing };');
    const bad = await ask<{ error: { message: string } }>('policy', 'set', 'web', '--from', at('bad.cedar'));
    expect([bad.exit, bad.document.error.message]).toEqual([2, expect.stringContaining('nothing')]);
    const printed = await run([
      'broker',
      'policy',
      'set',
      'x',
      '--min-tcb',
      'snp=24',
      '--machines',
      '3',
      '--print',
      ...data,
    ]);
    expect(printed.stdout).toContain('principal.tcb.reported.snp >= 24');
    const shown = await run(['broker', 'policy', 'show', 'web', ...data]);
    expect(shown.stdout).toContain('@id("all")');
    expect((await ask<unknown[]>('policy', 'list')).document).toHaveLength(2);
    expect((await ask('policy', 'delete', 'web')).exit).toBe(0);

    expect((await runJson(['broker', 'reference', 'generate-key', at('issuer.jwk')])).exit).toBe(0);
    expect((await ask('reference', 'trust', 'builds', '--key', at('issuer.jwk'))).exit).toBe(0);
    const publish = [
      'reference',
      'publish',
      '--issuer',
      'builds',
      '--key',
      at('issuer.jwk'),
      '--measurement',
      measurement,
    ];
    expect((await ask<{ version: number }>(...publish)).document.version).toBe(1);
    expect((await ask<{ version: number }>(...publish)).document.version).toBe(2);
    const old = await ask<{ checks: { id: string; status: string }[] }>(
      ...publish,
      '--document-version',
      '2',
    );
    expect(old.exit).toBe(1);
    expect(old.document.checks.find(({ status }) => status === 'fail')?.id).toBe('reference.version');
    expect((await run(['broker', 'reference', 'list', ...data])).stdout).toContain('superseded');

    const issued = await ask<{ id: string }>(
      'token',
      'issue',
      'anna',
      '--role',
      'auditor',
      '--out',
      at('anna'),
    );
    expect([issued.exit, issued.stdout.includes('vouchsafe_')]).toEqual([0, false]);
    expect(statSync(at('anna')).mode & 0o777).toBe(0o600);
    expect((await ask('audit', 'tail', '--token', at('anna'))).exit).toBe(0);
    const beyond = await run(['broker', 'secret', 'list', '--token', at('anna'), ...data]);
    expect([beyond.exit, beyond.stderr]).toEqual([
      1,
      expect.stringContaining('needs the role admin or reader; this token has auditor'),
    ]);
    expect((await ask('token', 'revoke', issued.document.id)).exit).toBe(0);
    const revoked = await ask<{ error: { code: string } }>('audit', 'tail', '--token', at('anna'));
    expect([revoked.exit, revoked.document.error.code]).toEqual([1, 'administrator-refused']);
    expect((await ask('token', 'rotate-key')).exit).toBe(0);
    expect((await ask('audit', 'export', '--out', at('record.ndjson'))).exit).toBe(0);
    expect((await ask('audit', 'export', '--out', at('record.ndjson'))).exit).toBe(2);
    expect(readFileSync(at('record.ndjson'), 'utf8').trimEnd().split('\n').length).toBeGreaterThan(10);
    const status = await ask<{ obstacles: string[] }>('status');
    expect(status.document.obstacles).toEqual([]);
  });

  it('expects launches of SEV, whose digests it computes from the images', async () => {
    const { at, ask, data, serve } = await world();
    await serve();
    writeFileSync(at('fw'), buildGuestFirmware());
    const set = ['launch', 'set', 'default', '--policy', '0xb', '--firmware', at('fw'), '--secret'];
    const made = await ask<{ digests: { digest: string }[] }>(...set, 'luks-key:disks/luks/web1');
    expect(made.exit, made.stdout).toBe(0);
    expect(fromHex(made.document.digests[0]!.digest)).toHaveLength(32);
    expect((await ask(...set, 'luks-key:../x')).exit).toBe(2);
    expect((await run(['broker', 'launch', 'list', ...data])).stdout).toContain('disks/luks/web1');
    expect((await ask('launch', 'delete', 'default')).exit).toBe(0);
  });

  it('is made where an earlier attempt met no database, with the keys that were made then', async () => {
    const folder = join(temporaryFolder(), 'broker');
    const init = (...words: string[]) => run(['broker', 'init', '--data', folder, ...words]);
    const failed = await init('--database', 'postgres://nobody@127.0.0.1:1/none');
    expect([failed.exit, failed.stderr]).toEqual([3, expect.stringContaining('postgres://127.0.0.1:1/none')]);
    const masterKey = readFileSync(join(folder, 'master.key'), 'utf8');
    const setUp = join(folder, 'broker.toml');
    const mended = readFileSync(setUp, 'utf8').replace('postgres://nobody@127.0.0.1:1/none', 'sqlite:b.db');
    writeFileSync(setUp, mended);
    const made = await init();
    expect(made.exit, made.stderr).toBe(0);
    expect(readFileSync(join(folder, 'master.key'), 'utf8')).toBe(masterKey);
    expect(readFileSync(join(folder, 'admin.token'), 'utf8')).toMatch(/^vouchsafe_/);
    for (const moved of ['nothing', 'reference-issuer.jwk', 'admin.token']) {
      rmSync(join(folder, moved), { force: true });
      const again = await init();
      expect([again.exit, again.stderr]).toEqual([3, expect.stringContaining('there is a broker already')]);
    }
  });

  it('is made once, and goes on with what it has after a restart', async () => {
    const { at, ask, data, serve } = await world();
    expect((await ask('init')).exit).toBe(3);
    const first = await serve();
    writeFileSync(at('s'), 's');
    await ask('secret', 'put', 'a/b/c', '--from', at('s'));
    await first.stop();
    await serve();
    expect((await ask<unknown[]>('secret', 'list')).document).toHaveLength(1);
    const stranger = await run(['broker', 'secret', 'list', ...data, '--token', at('s')]);
    expect([stranger.exit, stranger.stderr]).toEqual([
      1,
      expect.stringContaining('no administrator’s token'),
    ]);
  });

  it('does not open with another master key, nor an old copy of its database', async () => {
    const { at, ask, data, serve } = await world();
    const running = await serve();
    const early = readFileSync(at('broker/broker.db'));
    writeFileSync(at('s'), 's');
    await ask('secret', 'put', 'a/b/c', '--from', at('s'));
    await running.stop();
    const now = readFileSync(at('broker/broker.db'));
    const restore = (bytes: Uint8Array) => {
      for (const suffix of ['-wal', '-shm']) rmSync(at(`broker/broker.db${suffix}`), { force: true });
      writeFileSync(at('broker/broker.db'), bytes);
    };
    restore(early);
    const restored = await runJson<{ checks: { id: string }[] }>(['broker', 'serve', ...data]);
    expect([restored.exit, restored.document.checks[0]?.id]).toEqual([1, 'state.rollback']);
    restore(now);
    writeFileSync(at('broker/master.key'), `${Buffer.alloc(32, 7).toString('base64')}\n`);
    const wrong = await runJson<{ checks: { id: string }[] }>(['broker', 'serve', ...data]);
    expect([wrong.exit, wrong.document.checks[0]?.id]).toEqual([1, 'state.master-key']);
  });

  it('gets an administrator’s token again from its folder, beside a running broker and without one', async () => {
    const { at, ask, data, serve } = await world();
    const token = at('broker/admin.token');
    const lost = readFileSync(token, 'utf8');
    const { stop } = await serve();
    const [first] = (await ask<{ id: string }[]>('token', 'list')).document;
    rmSync(token);
    const without = await run(['broker', 'token', 'list', ...data]);
    expect([without.exit, without.stderr]).toEqual([3, expect.stringContaining('broker token recover')]);

    const made = await ask<{ id: string; token: string }>('token', 'recover', '--token-days', '1');
    expect([made.exit, made.document.token], made.stderr).toEqual([0, token]);
    expect(statSync(token).mode & 0o777).toBe(0o600);
    const found = readFileSync(token, 'utf8');
    expect(found).toMatch(new RegExp(`^vouchsafe_${made.document.id}_[A-Za-z0-9_-]{43}\\n$`));
    expect(found).not.toBe(lost);
    expect((await ask('token', 'revoke', first!.id)).exit).toBe(0);
    const acts = await ask<{ body: { act: string; by: string } }[]>(
      'audit',
      'tail',
      '--kind',
      'administration',
    );
    expect(acts.document.at(-2)!.body).toMatchObject({ act: 'token.issue', by: 'broker token recover' });
    expect((await ask('audit', 'verify')).exit).toBe(0);
    await stop();

    const again = await run(['broker', 'token', 'recover', ...data]);
    expect([again.exit, again.stdout]).toEqual([0, expect.stringContaining('with every role, until')]);
    expect(again.stdout + again.stderr + made.stdout).not.toContain(found.trim().slice(-43));
    expect(readdirSync(at('broker')).filter((name) => name.startsWith('.'))).toEqual([]);
    await serve();
    expect((await ask('audit', 'verify')).exit).toBe(0);
    rmSync(at('broker/master.key'));
    const keyless = await run(['broker', 'token', 'recover', ...data]);
    expect([keyless.exit, keyless.stderr]).toEqual([3, expect.stringContaining('there is no master key')]);
    expect((await run(['broker', 'token', 'recover', '--token-days', '91', ...data])).exit).toBe(2);
    expect((await run(['broker', 'token', 'recover', '--data', at('none')])).exit).toBe(3);
  });

  it('gets another master key while it runs, and needs it from then on', async () => {
    const { at, ask, data, serve } = await world();
    const { stop } = await serve();
    const setUp = () => readFileSync(at('broker/broker.toml'), 'utf8');
    const before = setUp();
    const change = (...words: string[]) =>
      ask<{ masterKey: string; before: string | null }>('master-key', 'change', ...words);
    for (const words of [
      [],
      ['--to-file', at('k'), '--to-environment', 'KEY'],
      ['--to-file', at('k'), '--vault-key', 'k'],
      ['--to-vault', 'https://vault.example'],
      ['--to-environment', 'not a name'],
      ['--to-environment', 'VOUCHSAFE_NOT_SET'],
      ['--to-vault', 'http://vault.example', '--vault-key', 'k'],
    ])
      expect((await change(...words)).exit, words.join(' ')).toBe(2);
    const early = readFileSync(at('broker/master.key'));
    expect(setUp()).toBe(before);

    const changed = await change('--to-file', at('broker/two.key'));
    expect(changed.exit, changed.stderr).toBe(0);
    expect(changed.document.before).toMatch(/^local:[0-9a-f]{16}$/);
    expect(setUp()).toBe(before.replace('"master.key"', '"two.key"'));
    expect(statSync(at('broker/two.key')).mode & 0o777).toBe(0o600);
    const tail = await run(['broker', 'audit', 'tail', ...data]);
    expect(tail.stdout).toContain('master-key.change by broker master-key change');
    expect((await ask('audit', 'verify')).exit).toBe(0);
    await stop();

    writeFileSync(at('broker/broker.toml'), before);
    const old = await run(['broker', 'serve', ...data]);
    expect([old.exit, old.stderr]).toEqual([1, expect.stringContaining('broker master-key change')]);
    const finished = await change('--to-file', at('broker/two.key'));
    expect([finished.exit, finished.document.before]).toEqual([0, null]);
    rmSync(at('broker/master.key'));
    await serve();
    expect((await ask('audit', 'verify')).exit).toBe(0);

    writeFileSync(at('outside.key'), early, { mode: 0o600 });
    const moved = await run(['broker', 'master-key', 'change', '--to-file', at('outside.key'), ...data]);
    expect([moved.exit, moved.stdout]).toEqual([0, expect.stringContaining('from now on')]);
    expect(setUp()).toContain(`file = ${JSON.stringify(at('outside.key'))}`);
  });

  it('is not reached in the clear beyond this machine', async () => {
    for (const [address, refusal] of [
      ['http://192.0.2.1:80', 'in the clear'],
      ['http://127.evil.example', 'in the clear'],
      ['http://[2001:db8::1]', 'in the clear'],
      ['https://user@broker.example', 'expected http'],
      ['https://:pass@broker.example', 'expected http'],
      ['ftp://127.0.0.1', 'expected http'],
    ] as const) {
      const answer = await run(['broker', 'status', '--broker', address, '--token', '/dev/null']);
      expect([answer.exit, answer.stderr]).toEqual([2, expect.stringContaining(refusal)]);
    }
    const none = await run(['broker', 'status', '--data', '/nonexistent']);
    expect([none.exit, none.stderr]).toEqual([2, expect.stringContaining('broker serve')]);
  });
});
