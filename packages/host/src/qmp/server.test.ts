import { stat, writeFile } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { InvalidArgumentError, UnavailableError } from '@vouchsafe/sev';
import { describe, expect, onTestFinished, test } from 'vitest';
import { temporaryFolder } from '../../../kds/src/testing/temporary.js';
import { alteredFirmware, launchMachine, makeOwner, type OwnersWishes } from '../testing/launch-fixture.js';
import { connectQmp } from './client.js';
import { serveVirtualMachine } from './serve-vm.js';

/** Talks to the server as any tool would: text out, lines in. */
async function rawClient(path: string) {
  const socket = createConnection(path);
  onTestFinished(() => void socket.destroy());
  let text = '';
  let more: () => void = () => undefined;
  let over = false;
  socket.setEncoding('utf8');
  socket.on('data', (chunk: string) => {
    text += chunk;
    more();
  });
  socket.on('close', () => {
    over = true;
    more();
  });
  socket.on('error', () => undefined);
  async function line(): Promise<Record<string, unknown> | undefined> {
    for (;;) {
      const end = text.indexOf('\n');
      if (end >= 0) {
        const found = text.slice(0, end);
        text = text.slice(end + 1);
        return JSON.parse(found);
      }
      if (over) return undefined;
      await new Promise<void>((resolve) => {
        more = resolve;
      });
    }
  }
  return { line, send: (message: string) => void socket.write(message) };
}

async function served(wishes?: OwnersWishes) {
  const { host, seen } = launchMachine();
  const owner = wishes && (await makeOwner(host, wishes));
  const vm = await serveVirtualMachine({
    machine: host,
    socketPath: join(temporaryFolder(), 'qmp'),
    ...(owner === undefined ? {} : { configuration: owner.configuration }),
  });
  onTestFinished(() => vm.close());
  return { host, seen, owner, vm, path: vm.socketPath };
}

async function negotiated(path: string) {
  const client = await rawClient(path);
  await client.line();
  client.send('{"execute":"qmp_capabilities"}');
  await client.line();
  return {
    ...client,
    async ask(message: string | object) {
      client.send(typeof message === 'string' ? message : JSON.stringify(message));
      return client.line();
    },
  };
}

const refused = (desc: string, errorClass = 'GenericError') => ({ error: { class: errorClass, desc } });

describe('QMP server', () => {
  test('greets as QEMU does and wants qmp_capabilities first, once', async () => {
    const { path } = await served();
    const client = await rawClient(path);
    expect(await client.line()).toEqual({
      QMP: {
        version: { qemu: { major: 7, minor: 2, micro: 0 }, package: 'Vouchsafe software machine' },
        capabilities: [],
      },
    });
    client.send('{"execute":"query-status","id":1}');
    expect(await client.line()).toEqual({
      ...refused("Expecting capabilities negotiation with 'qmp_capabilities'", 'CommandNotFound'),
      id: 1,
    });
    client.send('{"execute":"qmp_capabilities","arguments":{"enable":["oob"]}}');
    expect(await client.line()).toEqual(refused("Capability 'oob' not available"));
    client.send('{"execute":"qmp_capabilities","id":"x"}\r\n');
    expect(await client.line()).toEqual({ return: {}, id: 'x' });
    client.send('{"execute":"qmp_capabilities"}');
    const twice = 'Capabilities negotiation is already complete, command ignored';
    expect(await client.line()).toEqual(refused(twice, 'CommandNotFound'));
  });

  /** As a real qemu-system-x86_64 7.2 answered. */
  test.each<[string, object]>([
    ['{"execute":"foo"}', refused('The command foo has not been found', 'CommandNotFound')],
    ['{"execute":"constructor"}', refused('The command constructor has not been found', 'CommandNotFound')],
    ['{"execute":5}', refused("QMP input member 'execute' must be a string")],
    ['{"execute":"query-status","arguments":{"x":1}}', refused("Parameter 'x' is unexpected")],
    ['{"execute":"query-status","foo":1}', refused("QMP input member 'foo' is unexpected")],
    ['{"execute":"query-status","arguments":[]}', refused("QMP input member 'arguments' must be an object")],
    [
      '{"execute":"query-status","arguments":null}',
      refused("QMP input member 'arguments' must be an object"),
    ],
    ['{"arguments":{}}', refused("QMP input lacks member 'execute'")],
    ['[1]', refused('QMP input must be a JSON object')],
    ['"x"\n', refused('QMP input must be a JSON object')],
    ['{"execute":"sev-inject-launch-secret"}', refused("Parameter 'packet-header' is missing")],
    [
      '{"execute":"sev-inject-launch-secret","arguments":{"packet-header":5,"secret":"AA=="}}',
      refused("Invalid parameter type for 'packet-header', expected: string"),
    ],
    [
      '{"execute":"sev-inject-launch-secret","arguments":{"packet-header":"AA==","secret":"AA==","gpa":"x"}}',
      refused("Parameter 'gpa' expects uint64"),
    ],
    [
      '{"execute":"sev-inject-launch-secret","arguments":{"packet-header":"AA==","secret":"AA==","bogus":1}}',
      refused("Parameter 'bogus' is unexpected"),
    ],
    ['{"execute":"query-sev-launch-measure"}', refused('SEV launch measurement is not available')],
    [
      '{"execute":"sev-inject-launch-secret","arguments":{"packet-header":"!!","secret":"AA=="}}',
      refused('SEV not enabled for guest'),
    ],
    [
      '{"execute":"query-sev-attestation-report","arguments":{"mnonce":"AA=="}}',
      refused('SEV is not enabled'),
    ],
    [
      '{"execute":"query-status","id":null}',
      { return: { status: 'prelaunch', singlestep: false, running: false }, id: null },
    ],
    [
      '{"execute":"query-sev"}',
      {
        return: {
          enabled: false,
          'api-minor': 0,
          handle: 0,
          state: 'uninit',
          'api-major': 0,
          'build-id': 0,
          policy: 0,
        },
      },
    ],
  ])('a QEMU without SEV guest answers %s', async (message, expected) => {
    const { path } = await served();
    const { ask } = await negotiated(path);
    expect(await ask(message)).toEqual(expected);
    expect(await ask('{"execute":"query-status"}')).toMatchObject({ return: { status: 'prelaunch' } });
  });

  test('JSON that is none is refused, and the next message is read', async () => {
    const { ask } = await negotiated((await served()).path);
    expect(await ask('{bad json}')).toMatchObject({ error: { class: 'GenericError', desc: /JSON/ } });
    expect(await ask('{"execute":"query-version"}')).toMatchObject({ return: { qemu: { major: 7 } } });
  });

  test('messages need no line break between them, and are answered in order', async () => {
    const client = await negotiated((await served()).path);
    const many = Array.from({ length: 50 }, (_, id) => JSON.stringify({ execute: 'query-status', id }));
    client.send(many.join(''));
    for (const id of many.keys()) expect(await client.line()).toMatchObject({ id });
  });

  test('a message over a mebibyte ends the connection', async () => {
    const client = await negotiated((await served()).path);
    client.send(`{"execute":"${'x'.repeat(0x10_0001)}`);
    expect(await client.line()).toMatchObject({ error: { desc: /limit/ } });
    expect(await client.line()).toBeUndefined();
  });

  test('an id that is nested without end is refused, and the server goes on', async () => {
    const { path } = await served();
    const client = await negotiated(path);
    const nested = (depth: number) => `${'['.repeat(depth)}${']'.repeat(depth)}`;
    const asking = (depth: number) => `{"execute":"query-version","id":${nested(depth)}}`;
    expect(JSON.stringify(await client.ask(asking(1023)))).toContain(nested(1023));
    client.send(asking(200_000));
    expect(await client.line()).toMatchObject({ error: { desc: /limit/ } });
    expect(await client.line()).toBeUndefined();
    expect(await (await negotiated(path)).ask('{"execute":"query-status"}')).toHaveProperty('return');
  });

  test('a client that asks without end and takes no answer is not read from, and holds up no one', async () => {
    const { path, vm } = await served();
    const greedy = createConnection(path);
    onTestFinished(() => void greedy.destroy());
    greedy.on('error', () => undefined);
    greedy.write(`{"execute":"qmp_capabilities"}${'{"execute":"query-commands"}'.repeat(300_000)}`);
    const { ask } = await negotiated(path);
    for (let i = 0; i < 300; i++) expect(await ask('{"execute":"query-status"}')).toHaveProperty('return');
    expect(greedy.writableLength).toBeGreaterThan(0);
    await vm.close();
    await vm.finished;
  });

  test('capabilities name the platform that a session is made for', async () => {
    const { path } = await served();
    const { ask } = await negotiated(path);
    const answer = (await ask('{"execute":"query-sev-capabilities"}')) as {
      return: Record<string, string | number>;
    };
    expect(Object.keys(answer.return).toSorted()).toEqual([
      'cbitpos',
      'cert-chain',
      'cpu0-id',
      'pdh',
      'reduced-phys-bits',
    ]);
    const sizes = ['pdh', 'cert-chain', 'cpu0-id'].map(
      (name) => Buffer.from(String(answer.return[name]), 'base64').length,
    );
    expect(sizes).toEqual([0x824, 0x186c, 64]);
    expect(answer.return.cbitpos).toBe(51);
  });

  test('a launched guest: measurement, report, refusals in QEMU’s words, cont, stop, events', async () => {
    const { path, seen } = await served({});
    const { ask, line } = await negotiated(path);
    const named = (answer: unknown) => (answer as { return: Record<string, string> }).return;
    expect(await ask({ execute: 'query-sev' })).toMatchObject({
      return: {
        enabled: true,
        'api-major': 1,
        'api-minor': 55,
        'build-id': 24,
        policy: 1,
        state: 'launch-secret',
      },
    });
    const measured = named(await ask({ execute: 'query-sev-launch-measure' })).data!;
    expect(Buffer.from(measured, 'base64')).toHaveLength(48);
    const report = (mnonce: string) =>
      ask({ execute: 'query-sev-attestation-report', arguments: { mnonce } });
    expect(Buffer.from(named(await report('AAAAAAAAAAAAAAAAAAAAAA=='))!.data!, 'base64')).toHaveLength(0xd0);
    expect(await report('AAAA')).toEqual(refused('SEV: mnonce must be 16 bytes (got 3)'));
    expect(await report('=')).toEqual(refused('SEV: failed to decode mnonce input'));

    const header = Buffer.alloc(52).toString('base64');
    const secret = Buffer.alloc(32).toString('base64');
    const inject = (given: object) =>
      ask({ execute: 'sev-inject-launch-secret', arguments: { 'packet-header': header, secret, ...given } });
    const failed = (status: number, text: string) =>
      refused(`SEV: failed to inject secret ret=-5 fw_error=${status} '${text}'`);
    expect(await inject({})).toEqual(failed(11, 'Bad measurement'));
    expect(await inject({ 'packet-header': 'AAAA' })).toEqual(failed(4, 'Buffer too small'));
    expect(await inject({ secret: 'AAAA' })).toEqual(failed(4, 'Buffer too small'));
    expect(await inject({ gpa: 8 })).toEqual(failed(9, 'Invalid address'));
    expect(await inject({ gpa: 2 ** 40 })).toEqual(
      refused('SEV: Failed to calculate guest address: No memory is mapped at address 0x10000000000'),
    );
    expect(await inject({ 'packet-header': '' })).toEqual(refused('SEV: Failed to decode sequence header'));
    expect(await inject({ secret: '!' })).toEqual(refused('SEV: Failed to decode data'));

    expect(await ask({ execute: 'stop' })).toEqual({ return: {} });
    expect(await ask({ execute: 'cont', id: 1 })).toMatchObject({ event: 'RESUME' });
    expect(await line()).toEqual({ return: {}, id: 1 });
    await seen;
    expect(await ask({ execute: 'query-status' })).toMatchObject({
      return: { status: 'running', running: true },
    });
    expect(await inject({})).toEqual(refused('SEV: Not in correct state. (LSECRET) 3'));
    expect(named(await ask({ execute: 'query-sev-launch-measure' })).data).toBe(measured);
    expect(await ask({ execute: 'stop' })).toMatchObject({ event: 'STOP' });
    expect(await line()).toEqual({ return: {} });
    expect(await ask({ execute: 'query-status' })).toMatchObject({ return: { status: 'paused' } });
  });

  test('without a secret area in the firmware, the address must be given', async () => {
    const { path } = await served({ firmware: new Uint8Array(4096) });
    const { ask } = await negotiated(path);
    const given = {
      'packet-header': Buffer.alloc(52).toString('base64'),
      secret: Buffer.alloc(32).toString('base64'),
    };
    expect(await ask({ execute: 'sev-inject-launch-secret', arguments: given })).toEqual(
      refused('SEV: no secret area found in OVMF, gpa must be specified.'),
    );
  });

  test('quit says so to everybody, and leaves neither guest nor socket', async () => {
    const { path, vm } = await served({});
    const [{ ask, line }, other] = [await negotiated(path), await negotiated(path)];
    expect(await ask({ execute: 'quit', id: 7 })).toMatchObject({
      event: 'SHUTDOWN',
      data: { guest: false, reason: 'host-qmp-quit' },
    });
    expect(await line()).toEqual({ return: {}, id: 7 });
    expect(await line()).toBeUndefined();
    expect(await other.line()).toMatchObject({ event: 'SHUTDOWN' });
    expect(await other.line()).toBeUndefined();
    await vm.finished;
    await expect(stat(path)).rejects.toMatchObject({ code: 'ENOENT' });
    await expect(connectQmp(path)).rejects.toBeInstanceOf(UnavailableError);
  });

  test('a guest that gave up is not run again', async () => {
    const { path, vm } = await served({ firmware: alteredFirmware() });
    const { ask, line } = await negotiated(path);
    expect(await ask({ execute: 'cont' })).toMatchObject({ event: 'RESUME' });
    const two = [await line(), await line()];
    expect(two).toContainEqual({ return: {} });
    expect(two).toContainEqual(
      expect.objectContaining({ event: 'SHUTDOWN', data: { guest: true, reason: 'guest-shutdown' } }),
    );
    expect(await ask({ execute: 'cont' })).toEqual(refused('Resetting the Virtual Machine is required'));
    await vm.close();
  });

  test('the socket is its user’s alone; a dead one is replaced, a live one and other files are not', async () => {
    const { path, host } = await served();
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    await expect(serveVirtualMachine({ machine: host, socketPath: path })).rejects.toThrow(
      /another process listens/,
    );
    const file = join(temporaryFolder(), 'file');
    await writeFile(file, 'precious');
    await expect(serveVirtualMachine({ machine: host, socketPath: file })).rejects.toThrow(/not a socket/);
  });

  test('a path that is too long for a socket is refused before anything is made', async () => {
    const { host } = await served();
    const socketPath = join(temporaryFolder(), 'x'.repeat(108));
    const serving = serveVirtualMachine({ machine: host, socketPath });
    await expect(serving).rejects.toBeInstanceOf(InvalidArgumentError);
  });

  test('text that is not JSON is refused as such', async () => {
    const { path } = await served();
    const client = await rawClient(path);
    await client.line();
    client.send('{"execute": nothing}\n');
    expect(await client.line()).toMatchObject({ error: { desc: 'Invalid JSON syntax' } });
  });

  test('a folder that is not there is an error', async () => {
    const { host } = await served();
    const serving = serveVirtualMachine({
      machine: host,
      socketPath: join(temporaryFolder(), 'none', 'qmp'),
    });
    await expect(serving).rejects.toThrow(UnavailableError);
  });
});
