import { statSync } from 'node:fs';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectGuestOwner } from '@vouchsafe/host';
import { largestRequest, launchRequest, measurementEvidence } from '@vouchsafe/protocol';
import {
  amdPlatformRoots,
  InvalidArgumentError,
  openSecret,
  RefusedError,
  toBase64,
  toHex,
  UnavailableError,
} from '@vouchsafe/sev';
import { beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import type { ListenAddress } from '../http/listen.js';
import { digestOf, diskPassphrase, makeOwner } from '../testing/owner.js';
import { makeTestAuthority, makeTestPlatform, type TestPlatform, version } from '../testing/platform.js';
import { serveGuestOwner } from './http.js';
import type { GuestOwner } from './owner.js';
import type { OwnerDecision } from './routes.js';

let platform: TestPlatform;
let digest: Uint8Array;

beforeAll(async () => {
  platform = await makeTestPlatform(await makeTestAuthority());
  digest = await digestOf();
});

async function serve(owner: GuestOwner, address: ListenAddress = { host: '127.0.0.1', port: 0 }) {
  const decisions: OwnerDecision[] = [];
  const errors: Error[] = [];
  const server = await serveGuestOwner(owner, address, {
    onDecision: (decision) => decisions.push(decision),
    onError: (error) => errors.push(error),
  });
  onTestFinished(() => server.close());
  return { server, decisions, errors };
}

async function temporarySocket(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'vouchsafe-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  return join(folder, 'owner.sock');
}

const post = (url: string, body: string, type = 'application/json') =>
  fetch(url, { method: 'POST', body, headers: { 'content-type': type } });

describe('over a socket', () => {
  it.each(['TCP', 'unix'])('a host gets its session and its packet: %s', async (kind) => {
    const { owner, sessions } = await makeOwner(platform);
    const address = kind === 'TCP' ? { host: '127.0.0.1', port: 0 } : { socketPath: await temporarySocket() };
    const { server, decisions } = await serve(owner, address);
    if ('socketPath' in address) expect((await stat(address.socketPath)).mode & 0o777).toBe(0o600);
    const client = connectGuestOwner(server.address);

    const bundle = await client.openSession(platform.request());
    const keys = sessions.flatMap(({ tek, tik }) => [toHex(openSecret(tek)), toHex(openSecret(tik))]);
    const guest = await platform.start(bundle);
    const measurement = await guest.measure(digest);
    const evidence = { launchId: bundle.launchId, measurement, ...version, policy: bundle.policy };
    const delivery = await client.reportMeasurement(evidence);

    expect(new TextDecoder().decode(await guest.open(delivery, measurement))).toContain(diskPassphrase);
    expect(decisions).toEqual([
      { step: 'session', accepted: true, root: 'Vouchsafe Development, Naples', failed: [] },
      { step: 'measurement', accepted: true, root: 'Vouchsafe Development, Naples', failed: [] },
    ]);
    const logged = JSON.stringify(decisions);
    for (const secret of [diskPassphrase, bundle.launchId, ...keys]) expect(logged).not.toContain(secret);
  });

  it('a unix socket is this user’s alone from the moment that it is there', async () => {
    const { owner } = await makeOwner(platform);
    const socketPath = await temporarySocket();
    const umask = process.umask(0);
    onTestFinished(() => void process.umask(umask));
    const listen = Server.prototype.listen;
    const modes: number[] = [];
    const spy = vi.spyOn(Server.prototype, 'listen').mockImplementation(function (this: Server, ...given) {
      Reflect.apply(listen, this, given);
      modes.push(statSync(socketPath).mode & 0o777);
      return this;
    });
    onTestFinished(() => spy.mockRestore());
    const { server } = await serve(owner, { socketPath });
    expect(modes).toEqual([0o600]);
    expect(process.umask()).toBe(0);
    expect(server.address).toBe(`unix:${socketPath}`);
  });

  it('two owners do not share a socket, and the second is told what to do', async () => {
    const { owner } = await makeOwner(platform);
    const socketPath = await temporarySocket();
    await serve(owner, { socketPath });
    await expect(serveGuestOwner(owner, { socketPath })).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('EADDRINUSE'),
      hint: expect.stringContaining('stop what listens there'),
    });
  });

  it('a refusal carries the checks, and no secret', async () => {
    const { owner } = await makeOwner(platform);
    const { server, decisions } = await serve(owner);
    const client = connectGuestOwner(server.address);
    const stranger = await makeTestPlatform(await makeTestAuthority());
    const refused: unknown = await client.openSession(stranger.request()).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(RefusedError);
    expect((refused as RefusedError).appraisal.checks.find(({ id }) => id === 'chain.ark.root')?.status).toBe(
      'fail',
    );

    const bundle = await client.openSession(platform.request());
    const guest = await platform.start(bundle);
    const measurement = await guest.measure(new Uint8Array(32));
    const evidence = measurementEvidence.toJson({
      launchId: bundle.launchId,
      measurement,
      ...version,
      policy: bundle.policy,
    });
    const url = `${server.address}/pre-launch/sessions/${bundle.launchId}/measurement`;
    const answer = await post(url, JSON.stringify(evidence));
    expect(answer.status).toBe(403);
    const text = await answer.text();
    expect(text).toContain('measurement.digest');
    for (const key of [guest.tek, guest.tik]) {
      expect(text).not.toContain(toHex(openSecret(key)));
      expect(text).not.toContain(toBase64(openSecret(key)));
    }
    expect(decisions.map(({ accepted }) => accepted)).toEqual([false, true, false]);
    await expect(client.reportMeasurement(measurementEvidence.parse(evidence))).rejects.toThrow(
      /session.unused/,
    );
  });

  it('malformed requests are 400 with the member, and use no session up', async () => {
    const { owner } = await makeOwner(platform);
    const { server } = await serve(owner);
    const sessions = `${server.address}/pre-launch/sessions`;
    const good = launchRequest.toJson(platform.request()) as Record<string, unknown>;
    const cases: [string, string][] = [
      ['', '/'],
      ['{', '/'],
      ['[]', '/'],
      [JSON.stringify({ ...good, debug: true }), '/debug'],
      [JSON.stringify({ ...good, pdh: 'AAAA' }), '/pdh'],
      [JSON.stringify({ ...good, apiMajor: 256 }), '/apiMajor'],
    ];
    for (const [body, field] of cases) {
      const answer = await post(sessions, body);
      expect(answer.status).toBe(400);
      expect(await answer.json()).toMatchObject({ error: 'malformed', field });
    }
    const bundle = await connectGuestOwner(server.address).openSession(platform.request());
    const evidence = {
      launchId: bundle.launchId,
      measurement: new Uint8Array(48),
      ...version,
      policy: bundle.policy,
    };
    const json = measurementEvidence.toJson(evidence) as Record<string, unknown>;
    const own = `${sessions}/${bundle.launchId}/measurement`;
    for (const [url, body, field] of [
      [own, { ...json, measurement: toBase64(new Uint8Array(47)) }, '/measurement'],
      [`${sessions}/${'0'.repeat(32)}/measurement`, json, '/launchId'],
    ] as const) {
      const answer = await post(url, JSON.stringify(body));
      expect(answer.status).toBe(400);
      expect(await answer.json()).toMatchObject({ error: 'malformed', field });
    }
    const guest = await platform.start(bundle);
    const measurement = await guest.measure(digest);
    expect(
      (await post(own, JSON.stringify(measurementEvidence.toJson({ ...evidence, measurement })))).status,
    ).toBe(200);
  });

  it('bodies have a limit and a type, and other addresses do not exist', async () => {
    const { owner } = await makeOwner(platform);
    const { server, errors } = await serve(owner);
    const sessions = `${server.address}/pre-launch/sessions`;
    expect((await post(sessions, ' '.repeat(largestRequest + 1))).status).toBe(413);
    expect((await post(sessions, '{}', 'text/plain')).status).toBe(415);
    expect((await fetch(sessions)).status).toBe(404);
    expect((await fetch(`${server.address}/`)).status).toBe(404);
    expect(errors).toEqual([]);
  });

  it('a failure inside says nothing to the caller', async () => {
    const { owner } = await makeOwner(platform);
    const failing = { ...owner, openSession: () => Promise.reject(new TypeError('the key is 0123')) };
    const { server, errors } = await serve(failing);
    const answer = await post(
      `${server.address}/pre-launch/sessions`,
      JSON.stringify(launchRequest.toJson(platform.request())),
    );
    expect([answer.status, await answer.json()]).toEqual([500, { error: 'internal' }]);
    expect(errors).toHaveLength(1);
  });

  it('a key service that does not answer is 503', async () => {
    const { owner } = await makeOwner(platform);
    const { server } = await serve(owner);
    const request = platform.requestForCaseA({ chipId: new Uint8Array(64) });
    const answer = await post(
      `${server.address}/pre-launch/sessions`,
      JSON.stringify(launchRequest.toJson(request)),
    );
    expect([answer.status, await answer.json()]).toEqual([
      503,
      { error: 'unavailable', message: expect.stringContaining('chip') },
    ]);
    await expect(connectGuestOwner(server.address).openSession(request)).rejects.toThrow(UnavailableError);
  });
});

describe('an owner who trusts a development root', () => {
  it.each(['0.0.0.0', '::', '192.0.2.1', 'example.org', '127.evil.example'])(
    'does not listen on %s',
    async (host) => {
      const { owner } = await makeOwner(platform);
      await expect(serveGuestOwner(owner, { host, port: 0 })).rejects.toThrow(InvalidArgumentError);
    },
  );

  it('is told from one who trusts AMD’s, who may try any address', async () => {
    const { owner } = await makeOwner(platform, { roots: amdPlatformRoots });
    await expect(serveGuestOwner(owner, { host: '192.0.2.1', port: 0 })).rejects.toThrow(UnavailableError);
  });
});

describe('a host', () => {
  it('says so when there is no owner', async () => {
    const client = connectGuestOwner(`unix:${await temporarySocket()}`);
    await expect(client.openSession(platform.request())).rejects.toThrow(UnavailableError);
  });

  it.each(['ftp://127.0.0.1', '127.0.0.1:80', 'http://user@127.0.0.1', 'http://127.0.0.1/?a=b', 'unix:', ''])(
    'is not given the address %j',
    (address) => {
      expect(() => connectGuestOwner(address)).toThrow(InvalidArgumentError);
    },
  );
});
