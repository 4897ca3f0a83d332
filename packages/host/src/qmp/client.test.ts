import { join } from 'node:path';
import { InvalidArgumentError, MalformedError, UnavailableError } from '@vouchsafe/sev';
import { describe, expect, test } from 'vitest';
import { temporaryFolder } from '../../../kds/src/testing/temporary.js';
import { qemuMachine } from '../qemu/qemu-machine.js';
import { greeting, negotiating, scriptedQmp } from '../testing/scripted-qmp.js';
import { connectQmp } from './client.js';
import { QmpError } from './errors.js';
import type { QmpEvent } from './messages.js';

const answer = (value: object) => `${JSON.stringify(value)}\r\n`;

describe('QMP client', () => {
  test('gives each answer to the command that asked', async () => {
    const held: number[] = [];
    const path = await negotiating(({ id }, socket) => {
      held.push(id);
      if (held.length < 2) return;
      for (const each of held.toReversed()) socket.write(answer({ return: { of: each }, id: each }));
    });
    const client = await connectQmp(path);
    const [first, second] = await Promise.all([client.execute('one'), client.execute('two')]);
    expect([first, second]).toEqual(held.map((id) => ({ of: id })));
    await client.close();
  });

  test('reads messages that come in pieces, and several in one', async () => {
    const path = await negotiating(({ id }, socket) => {
      const whole = answer({ return: 'braces } in { text, "quoted" \\', id });
      for (const byte of Buffer.from(whole)) socket.write(Buffer.of(byte));
    });
    const client = await connectQmp(path);
    expect(await client.execute('query-status')).toBe('braces } in { text, "quoted" \\');
    await client.close();
  });

  test('a refusal has class and description as QEMU gave them', async () => {
    const path = await negotiating(({ id }, socket) => {
      socket.write(answer({ error: { class: 'GenericError', desc: 'not today' }, id }));
    });
    const client = await connectQmp(path);
    const error = await client.execute('cont').catch((refusal: unknown) => refusal);
    expect(error).toBeInstanceOf(QmpError);
    expect(error).toMatchObject({
      code: 'qmp-error',
      command: 'cont',
      errorClass: 'GenericError',
      description: 'not today',
    });
    await client.close();
  });

  test('events go to whoever listens, and are no answers', async () => {
    const event = { event: 'RESUME', timestamp: { seconds: 1, microseconds: 2 } };
    const path = await negotiating(({ id }, socket) => {
      socket.write(answer(event) + answer({ return: {}, id }));
    });
    const client = await connectQmp(path);
    const seen: QmpEvent[] = [];
    const end = client.onEvent((each) => seen.push(each));
    await client.execute('cont');
    end();
    await client.execute('cont');
    expect(seen).toEqual([event]);
    await client.close();
  });

  test.each<[string, string]>([
    ['something that is not JSON', 'hello \r\n'],
    ['an answer to nobody', answer({ return: {}, id: 99 })],
    ['an answer without id', answer({ return: {} })],
    ['neither answer nor event', answer({ id: 2 })],
    ['an error without description', answer({ error: { class: 'GenericError' }, id: 2 })],
    ['a list', answer([])],
    ['an event without time', answer({ event: 'STOP' })],
    ['a message without end', `{"return": "${'x'.repeat(5000)}`],
  ])('%s ends the connection', async (_name, text) => {
    const path = await negotiating((_message, socket) => void socket.write(text));
    const client = await connectQmp(path, { messageLimit: 4096 });
    await expect(client.execute('query-status')).rejects.toBeInstanceOf(MalformedError);
    await client.closed;
    await expect(client.execute('query-status')).rejects.toBeInstanceOf(MalformedError);
  });

  test.each([
    ['{"QMP": {}}\r\n', MalformedError],
    ['{"return": {}}\r\n', MalformedError],
    ['HTTP/1.1 400 Bad Request\r\n', MalformedError],
  ])('%j is no greeting', async (text, kind) => {
    const path = await scriptedQmp((socket) => void socket.write(text));
    await expect(connectQmp(path)).rejects.toBeInstanceOf(kind);
  });

  test('a peer that says nothing, or nothing more, is not waited for longer than the time given', async () => {
    const mute = await scriptedQmp(() => undefined);
    await expect(connectQmp(mute, { timeout: 20 })).rejects.toThrow(/no greeting/);
    const client = await connectQmp(await negotiating(() => undefined));
    const slow = client.execute('query-status', { timeout: 20 });
    await expect(slow).rejects.toBeInstanceOf(UnavailableError);
    await expect(slow).rejects.toThrow(/no answer to query-status within 0.02 s/);
    await client.close();
  });

  test('an answer that comes after its time is nobody’s, and the next command gets its own; twice is too much', async () => {
    const late: string[] = [];
    const path = await negotiating(({ execute, id }, socket) => {
      if (execute === 'stop') late.push(answer({ return: 'late', id }));
      else socket.write(late.join('') + answer({ return: execute, id }));
    });
    const client = await connectQmp(path);
    await expect(client.execute('stop', { timeout: 20 })).rejects.toBeInstanceOf(UnavailableError);
    expect(await client.execute('query-status')).toBe('query-status');
    await expect(client.execute('query-status')).rejects.toBeInstanceOf(MalformedError);
    await client.closed;
  });

  test('a peer that goes away takes every command with it', async () => {
    const path = await negotiating((_message, socket) => void socket.destroy());
    const client = await connectQmp(path);
    await expect(client.execute('query-status')).rejects.toBeInstanceOf(UnavailableError);
    await client.closed;
  });

  test('a peer that does not know capabilities is refused', async () => {
    const path = await scriptedQmp(
      (socket) => socket.write(`${greeting}\r\n`),
      ({ id }, socket) => void socket.write(answer({ error: { class: 'CommandNotFound', desc: 'no' }, id })),
    );
    await expect(connectQmp(path)).rejects.toBeInstanceOf(QmpError);
  });

  test('where nobody listens, the error says what to start', async () => {
    await expect(connectQmp(join(temporaryFolder(), 'none'))).rejects.toMatchObject({
      code: 'unavailable',
      hint: expect.stringContaining('vouchsafe host serve'),
    });
    await expect(connectQmp(`/tmp/${'x'.repeat(120)}`)).rejects.toBeInstanceOf(InvalidArgumentError);
  });

  test.each([{ status: 5 }, { return: 'running' }, []])(
    'an answer of another form, %j, is malformed',
    async (value) => {
      const path = await negotiating(({ id }, socket) => void socket.write(answer({ return: value, id })));
      const client = await connectQmp(path);
      await expect(qemuMachine({ client }).status()).rejects.toBeInstanceOf(MalformedError);
      await client.close();
    },
  );

  test('a machine that was quit answers nothing more', async () => {
    const path = await negotiating(({ id }, socket) => void socket.write(answer({ return: {}, id })));
    const machine = qemuMachine({ client: await connectQmp(path) });
    await machine.quit();
    await expect(machine.information()).rejects.toThrow('it has been quit');
  });

  test('a machine without SEV has no information to give', async () => {
    const off = {
      enabled: false,
      'api-major': 0,
      'api-minor': 0,
      'build-id': 0,
      policy: 0,
      state: 'uninit',
      handle: 0,
    };
    const path = await negotiating(({ id }, socket) => void socket.write(answer({ return: off, id })));
    const client = await connectQmp(path);
    await expect(qemuMachine({ client }).information()).rejects.toThrow('launched without SEV');
    await client.close();
  });
});
