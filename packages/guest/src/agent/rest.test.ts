import { request } from 'node:http';
import { networkInterfaces } from 'node:os';
import { parseSnpEvidence, parseStrictJson } from '@vouchsafe/protocol';
import { parseSnpReport } from '@vouchsafe/sev';
import { describe, expect, it, onTestFinished } from 'vitest';
import { describeWithVectors, jsonVector } from '../../../sev/src/testing/vectors.js';
import { makeAgent, serveAgent } from '../testing/agent-fixture.js';
import { attestationCalls } from './services/attestation.js';
import { dataHubCalls } from './services/data-hub.js';
import { type CallerRules, requireCaller } from './transport/callers.js';
import { restServer } from './transport/rest-server.js';

const said = async (answer: Response) => [answer.status, await answer.text()];

describe('the HTTP of containers', () => {
  it('gives secrets, tokens, evidence and what it is', async () => {
    const { get } = await serveAgent({ secrets: { 'a/b/c': 'of this guest' } });
    const resource = await get('/cdh/resource/default/key/1');
    expect(resource.headers.get('content-type')).toBe('application/octet-stream');
    expect(await said(resource)).toEqual([200, 'the first secret']);
    expect(await said(await get('/cdh/resource/a/b/c'))).toEqual([200, 'of this guest']);
    const token = (await (await get('/aa/token?token_type=kbs')).json()) as Record<string, string>;
    expect(Object.keys(token)).toEqual(['token', 'tee_keypair']);
    const reportData = async (query: string) => {
      const text = await (await get(`/aa/evidence?${query}`)).text();
      const { report } = parseSnpEvidence(parseStrictJson('evidence', text));
      return new TextDecoder().decode(parseSnpReport(report).reportData).replaceAll('\0', '');
    };
    expect(await reportData('runtime_data=a%20nonce')).toBe('a nonce');
    expect(await reportData('runtime_data=Pz8_&encoding=base64')).toBe('???');
    expect(await said(await get('/aa/additional-evidence?runtime_data=x'))).toEqual([200, '']);
    const entry = { method: 'POST', body: JSON.stringify({ domain: 'd', operation: 'o', content: 'c' }) };
    expect(await (await get('/aa/aael', entry)).json()).toMatchObject({ success: 'false' });
    expect(await (await get('/info')).json()).toEqual({ version: '1.2.3', tee: 'snp', feature: 'all' });
  });

  it.each([
    ['a refusal of the broker', '/cdh/resource/other/key/1', 403, 'another owner’s, number 17'],
    ['a secret that is nowhere', '/cdh/resource/default/key/none', 404, 'has no default/key/none'],
    ['a path that is none', '/cdh/resource/default/key', 400, 'BAD REQUEST'],
    ['a path with tricks', '/cdh/resource/default/%2e%2e/1', 400, 'BAD REQUEST'],
    ['a token of another kind', '/aa/token?token_type=other', 400, 'BAD REQUEST'],
    ['a token of no kind', '/aa/token', 400, 'BAD REQUEST'],
    ['runtime data twice', '/aa/evidence?runtime_data=a&runtime_data=b', 400, 'BAD REQUEST'],
    ['runtime data of 65 bytes', `/aa/evidence?runtime_data=${'x'.repeat(65)}`, 400, 'BAD REQUEST'],
    ['an encoding that is none', '/aa/evidence?runtime_data=a&encoding=hex', 400, 'BAD REQUEST'],
    ['base64 of the other alphabet', '/aa/evidence?runtime_data=Pz8/&encoding=base64', 400, 'BAD REQUEST'],
    ['a path that does not exist', '/other', 404, 'URL NOT FOUND'],
    ['a call that does not exist', '/aa/other', 404, 'URL NOT FOUND'],
    ['a log entry that is asked for', '/aa/aael', 405, 'Method Not Allowed'],
  ])('answers %s with its status', async (_what, path, status, text) => {
    const { get } = await serveAgent();
    expect(await said(await get(path))).toEqual([status, expect.stringContaining(text)]);
  });

  it('takes no other methods, and no log entry that is none', async () => {
    const { get } = await serveAgent();
    for (const path of ['/cdh/resource/default/key/1', '/aa/token?token_type=kbs', '/info'])
      expect((await get(path, { method: 'POST', body: '' })).status, path).toBe(405);
    expect((await get('/aa/aael', { method: 'POST', body: '{}' })).status).toBe(400);
    expect((await get('/aa/aael', { method: 'POST', body: 'x'.repeat(70_000) })).status).toBe(400);
  });

  it('offers what it was told to offer', async () => {
    const resource = await serveAgent({}, { restFeatures: 'resource' });
    expect(await said(await resource.get('/aa/token?token_type=kbs'))).toEqual([
      404,
      'Attestation Feature Not Enabled',
    ]);
    expect(await (await resource.get('/info')).json()).toEqual({ version: '1.2.3', feature: 'resource' });
    const attestation = await serveAgent({}, { restFeatures: 'attestation' });
    expect(await said(await attestation.get('/cdh/resource/default/key/1'))).toEqual([
      404,
      'Resource Feature Not Enabled',
    ]);
  });

  it('answers no page that a browser of this guest was sent', async () => {
    const { get, places, broker } = await serveAgent();
    const path = '/cdh/resource/default/key/1';
    expect(await said(await get(path, { headers: { origin: 'https://attacker.example' } }))).toEqual([
      403,
      'Forbidden',
    ]);
    const [host, port] = places.rest.split(':');
    const status = await new Promise((resolve) => {
      const headers = { host: `attacker.example:${port}` };
      request({ host, port, path, headers, agent: false }, ({ statusCode }) => resolve(statusCode)).end();
    });
    expect(status).toBe(403);
    expect(broker.requests).toEqual([]);
  });
});

describe('a caller', () => {
  const rules: CallerRules = { users: 'any' };
  const local = { localAddress: '127.0.0.1', localPort: 8006, remotePort: 40_000 };

  it.each(['192.0.2.7', '::ffff:192.0.2.7', 'fe80::1', '127.0.0.1.example', undefined])(
    'from %s is refused',
    async (remoteAddress) => {
      await expect(requireCaller({ ...local, remoteAddress }, rules)).rejects.toThrow(/its own machine only/);
    },
  );
  it.each(['127.0.0.1', '127.8.9.1', '::1', '::ffff:127.0.0.1'])(
    'from %s is on this machine',
    async (remoteAddress) => {
      await requireCaller({ ...local, remoteAddress }, rules);
    },
  );

  it('whose connection the kernel does not know is refused where users count', async () => {
    for (const remoteAddress of ['127.0.0.1', '::1', '::ffff:127.0.0.1'])
      await expect(requireCaller({ ...local, remoteAddress }, { users: [] })).rejects.toThrow(
        /which user calls/,
      );
  });

  it('from the machine’s own other address gets 403, whatever it asks', async ({ skip }) => {
    const outside = Object.values(networkInterfaces())
      .flat()
      .find((each) => each !== undefined && !each.internal && each.family === 'IPv4');
    if (outside === undefined) return skip('this machine has no address but loopback');
    const { broker, device } = await makeAgent();
    const resources = { find: async () => undefined };
    const options = { device, broker: undefined, eventLog: false, resources };
    const { server, close } = restServer({
      attestation: attestationCalls(options),
      dataHub: dataHubCalls({
        ...options,
        imagePolicy: { requireAllowed: async () => undefined, requireNotRejected: async () => undefined },
      }),
      features: 'all',
      version: '1',
      rules,
    });
    onTestFinished(close);
    await new Promise<void>((resolve) => server.listen(0, outside.address, resolve));
    const { port } = server.address() as { port: number };
    for (const path of ['/info', '/aa/evidence?runtime_data=x', '/cdh/resource/default/key/1'])
      expect(await said(await fetch(`http://${outside.address}:${port}${path}`))).toEqual([403, 'Forbidden']);
    expect([broker.requests, device.asked]).toEqual([[], []]);
  });
});

describe('where an agent is served', () => {
  it.each(['0.0.0.0:0', '[::]:0', '192.0.2.7:0', 'localhost:0', '127.0.0.1', '127.0.0.1:99999'])(
    '%s is refused',
    async (rest) => {
      const { agent } = await makeAgent();
      await expect(agent.serve({ rest })).rejects.toMatchObject({ code: 'invalid-argument' });
    },
  );

  it('may be IPv6’s loopback, or a unix socket for gRPC', async ({ skip }) => {
    const { folder, agent } = await serveAgent();
    const served = await agent.serve({ dataHubGrpc: `unix:${folder}/grpc.sock` });
    onTestFinished(() => served.close());
    expect(served.places.dataHubGrpc).toBe(`unix:${folder}/grpc.sock`);
    if (networkInterfaces()['lo']?.every(({ family }) => family !== 'IPv6') ?? true)
      return skip('no IPv6 here');
    const six = await agent.serve({ rest: '[::1]:0' });
    onTestFinished(() => six.close());
    expect((await fetch(`http://${six.places.rest}/info`)).status).toBe(200);
  });

  it('a failure leaves nothing listening', async () => {
    const { agent, places, folder } = await serveAgent();
    const [, port] = places.rest.split(':');
    const half = { dataHubSocket: `${folder}/half.sock`, rest: `127.0.0.1:${port}` };
    await expect(agent.serve(half)).rejects.toMatchObject({ code: 'unavailable' });
    const again = await agent.serve({ dataHubSocket: half.dataHubSocket });
    await again.close();
  });
});

describeWithVectors('the description of api-server-rest', () => {
  it('names no path and no method that this agent does not have', async () => {
    const { paths } = jsonVector<{ paths: Record<string, Record<string, unknown>> }>(
      'kbs/openapi/api-server-rest.json',
    );
    const { get } = await serveAgent();
    const query = '?runtime_data=x&token_type=kbs';
    for (const [path, methods] of Object.entries(paths)) {
      const url = path.replace('{repository}', 'default').replace('{type}', 'key').replace('{tag}', '1');
      for (const method of Object.keys(methods)) {
        const body = method === 'post' ? { body: '{"domain":"a","operation":"b","content":"c"}' } : {};
        expect((await get(`${url}${query}`, { method, ...body })).status, `${method} ${path}`).toBe(200);
      }
    }
  });
});
