import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { amdEndorsementRoots, InvalidArgumentError } from '@vouchsafe/sev';
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { createMaintenance } from '../maintenance.js';
import { inject, makeBroker, makeSilicon, type Silicon } from '../testing/broker.js';
import { selfSigned } from '../testing/certificate.js';
import { createApp } from './app.js';
import { createMetrics } from './metrics.js';
import { loadTls } from './tls.js';
import { tokenBuckets } from './token-bucket.js';

let silicon: Silicon;
beforeAll(async () => {
  silicon = await makeSilicon();
});

function certificateFiles(name = 'first.example') {
  const folder = mkdtempSync(join(tmpdir(), 'vouchsafe-tls-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const files = { certificate: join(folder, 'cert.pem'), key: join(folder, 'key.pem') };
  const write = (subject: string) => {
    const { certificate, key } = selfSigned(subject);
    writeFileSync(files.certificate, certificate);
    writeFileSync(files.key, key);
  };
  write(name);
  return { files, write };
}

describe('a broker does not answer', () => {
  it('plain HTTP beyond loopback', async () => {
    const world = await makeBroker({ silicon, roots: amdEndorsementRoots });
    for (const host of ['0.0.0.0', '::', '192.0.2.1', 'example.org', '127.evil.example'])
      await expect(world.broker.listen({ host, port: 0 }), host).rejects.toThrow(/plain HTTP/);
  });

  it('beyond loopback with a development root, TLS or not', async () => {
    const { files } = certificateFiles();
    const world = await makeBroker({ silicon, tls: files });
    await expect(world.broker.listen({ host: '0.0.0.0', port: 0 })).rejects.toThrow(/development root/);
  });

  it('for AMD’s roots beside a development root', async () => {
    await expect(
      makeBroker({ silicon, roots: [...amdEndorsementRoots, silicon.endorser.root] }),
    ).rejects.toThrow(InvalidArgumentError);
    await expect(makeBroker({ silicon, roots: [] })).rejects.toThrow(InvalidArgumentError);
  });
});

describe('TLS', () => {
  const subjectAt = (address: string) =>
    new Promise<string>((resolve, reject) => {
      request(`${address}/healthz`, { rejectUnauthorized: false, agent: false }, (response) => {
        const { subject } = (response.socket as TLSSocket).getPeerCertificate();
        response.resume().on('end', () => resolve(`${subject.CN} ${response.statusCode}`));
      })
        .on('error', reject)
        .end();
    });

  it('is served with the certificate that is in the files, and with a new one when it is there', async () => {
    const { files, write } = certificateFiles();
    const world = await makeBroker({ silicon, tls: files });
    const address = await world.broker.listen({ host: '127.0.0.1', port: 0 });
    expect(address).toMatch(/^https:/);
    expect(await subjectAt(address)).toBe('first.example 200');
    write('second.example');
    await world.broker.maintain();
    expect(await subjectAt(address)).toBe('second.example 200');
    writeFileSync(files.key, 'half');
    await world.broker.maintain();
    expect(await subjectAt(address)).toBe('second.example 200');
    expect(world.logs.join('')).toContain('"task":"tls"');
  });

  it('has files that fit together', async () => {
    const { files } = certificateFiles();
    const other = certificateFiles();
    await expect(loadTls({ ...files, key: other.files.key })).rejects.toThrow(InvalidArgumentError);
    await expect(loadTls({ ...files, key: `${files.key}.none` })).rejects.toMatchObject({
      code: 'unavailable',
    });
    const loaded = await loadTls(files);
    expect((await loaded.reload()).changed).toBe(false);
  });
});

describe('a bucket for each key', () => {
  it('admits a burst, then its rate, and each key for itself', () => {
    const buckets = tokenBuckets({ perMinute: 60, burst: 2 });
    expect([1, 2, 3].map(() => buckets.take('a', 0).taken)).toEqual([true, true, false]);
    expect(buckets.take('b', 0).taken).toBe(true);
    expect(buckets.take('a', 0)).toEqual({ taken: false, after: 1 });
    expect(buckets.take('a', 999).taken).toBe(false);
    expect(buckets.take('a', 1000).taken).toBe(true);
    expect([1, 2, 3].map(() => buckets.take('a', 1_000_000).taken)).toEqual([true, true, false]);
  });

  it('is not filled by a clock that goes back, and forgets the quietest when there are too many', () => {
    const buckets = tokenBuckets({ perMinute: 1, burst: 1 }, 2);
    expect(buckets.take('a', 1000).taken).toBe(true);
    expect(buckets.take('a', 0).taken).toBe(false);
    expect(buckets.take('a', 1000).taken).toBe(false);
    for (const key of ['b', 'c']) buckets.take(key, 1000);
    expect(buckets.take('a', 1000).taken).toBe(true);
  });
});

describe('the frame', () => {
  async function app(write: (line: string) => void = () => undefined) {
    const made = await createApp({
      log: { level: 'info', write },
      metrics: createMetrics({ version: 'test' }),
    });
    onTestFinished(() => made.close());
    return made;
  }

  it('logs patterns and no path, header, query or body; what slips in by a name is redacted', async () => {
    const lines: string[] = [];
    const made = await app((line) => lines.push(line));
    made.get('/things/:name', async ({ log }) => {
      log.info({ token: 'hush', inner: { secret: 'hush' }, headers: { cookie: 'hush' } }, 'a slip');
      return {};
    });
    await inject(
      { app: made },
      {
        method: 'GET',
        url: '/things/hush?q=hush',
        headers: { authorization: 'Bearer hush', cookie: 'a=hush' },
      },
    );
    expect(lines.join('')).not.toContain('hush');
    expect(JSON.parse(lines.at(-1)!)).toMatchObject({ route: '/things/:name', status: 200, msg: 'answered' });
  });

  it('tells nobody what went wrong inside', async () => {
    const lines: string[] = [];
    const made = await app((line) => lines.push(line));
    made.get('/fails', async () => {
      throw new TypeError('the key is 0123');
    });
    const answer = await inject({ app: made }, { method: 'GET', url: '/fails' });
    expect([answer.status, answer.json]).toEqual([500, { error: 'internal' }]);
    expect(lines.join('')).toContain('"failure":"TypeError"');
    expect(lines.join('')).not.toContain('0123');
  });

  it('does not repeat a path that is none', async () => {
    const answer = await inject({ app: await app() }, { method: 'GET', url: '/%zz/hush' });
    expect(answer.status).toBe(400);
    expect(answer.text).not.toContain('hush');
  });
});

describe('maintenance', () => {
  it('runs what is due, never beside itself, and again after a failure', async () => {
    const ran: string[] = [];
    const failures: string[] = [];
    const clock = { now: 0 };
    const maintenance = createMaintenance({
      now: () => clock.now,
      onFailure: (task) => failures.push(task),
      tasks: {
        a: { every: 1000, run: async () => void ran.push('a') },
        b: {
          every: 1000,
          run: async () => {
            ran.push('b');
            throw new Error('no');
          },
        },
      },
    });
    await Promise.all([maintenance.runAll(), maintenance.runAll()]);
    expect([ran, failures]).toEqual([
      ['a', 'b', 'a', 'b'],
      ['b', 'b'],
    ]);
    await maintenance.stop();
  });
});
