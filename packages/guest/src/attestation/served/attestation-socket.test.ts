import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, statSync, writeFileSync } from 'node:fs';
import { createConnection, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { Duplex, PassThrough } from 'node:stream';
import { promisify } from 'node:util';
import { attestationLineLimit } from '@vouchsafe/protocol';
import { fromBase64, openSecret, parseSnpReport, toBase64, UnavailableError } from '@vouchsafe/sev';
import { describe, expect, it, onTestFinished } from 'vitest';
import { channelAttestationDevice } from '../../snp/channel-device.js';
import { openGuestChannel } from '../../snp/guest-channel.js';
import { hostOf, ScriptedFirmware, scriptedCertificateTable } from '../../testing/scripted-firmware.js';
import { temporaryFolder } from '../../testing/temporary.js';
import { linesOf } from '../line-stream.js';
import { type ByteStream, socketAttestationDevice } from '../socket-device.js';
import { serveAttestationSocket, serveAttestationStream } from './served-socket.js';

const reportData = new Uint8Array(64).fill(3);
const fields = {
  policy: true,
  imageId: false,
  familyId: false,
  measurement: false,
  guestSvn: false,
  tcbVersion: false,
  launchMitigationVector: false,
};

function softwareDevice() {
  const firmware = new ScriptedFirmware();
  return channelAttestationDevice(
    openGuestChannel({ transport: hostOf(firmware), key: firmware.key(0), vmpck: 0 }),
  );
}

async function serve() {
  const path = join(temporaryFolder(), 'device.socket');
  const served = await serveAttestationSocket(softwareDevice(), path);
  onTestFinished(() => served.close());
  return { path, served };
}

/** Sends text and gives the first `count` lines that come back. */
async function exchange(path: string, text: string, count: number): Promise<Record<string, unknown>[]> {
  const socket = createConnection(path);
  await once(socket, 'connect');
  socket.write(text);
  const lines: Record<string, unknown>[] = [];
  for await (const line of linesOf(socket, attestationLineLimit)) {
    lines.push(JSON.parse(line ?? 'null') as Record<string, unknown>);
    if (lines.length === count) break;
  }
  socket.destroy();
  return lines;
}

const line = (message: object) => `${JSON.stringify(message)}\n`;
const reportLine = (id: number) => line({ type: 'report', id, reportData: toBase64(reportData) });

describe('a served socket', () => {
  it('is for its user alone', async () => {
    const { path } = await serve();
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it('answers requests line by line, with their numbers', async () => {
    const { path } = await serve();
    const key = line({ type: 'key', id: 8, root: 'VEK', fields });
    const [first, second, third] = await exchange(path, reportLine(7) + key + reportLine(9), 3);
    expect([first?.['id'], second?.['id'], third?.['id']]).toEqual([7, 8, 9]);
    expect(parseSnpReport(fromBase64(String(first?.['report']))).reportData).toEqual(reportData);
    expect(fromBase64(String(second?.['key'])).length).toBe(32);
  });

  it('answers nonsense with a failure, and goes on', async () => {
    const { path } = await serve();
    const nonsense = [
      'hello\n',
      '\n',
      '{"type":"report","id":1}\n',
      line({ type: 'report', id: 2, reportData: toBase64(reportData), more: true }),
      line({ type: 'report', id: -1, reportData: toBase64(reportData) }),
      line({ type: 'key', id: 3, root: 'VEK', fields: { policy: true } }),
      line({ type: 'key', id: 4, root: 'VEK', fields, tcbVersion: '0X1' }),
      `${'x'.repeat(attestationLineLimit)}\n`,
    ];
    const answers = await exchange(path, nonsense.join('') + reportLine(5), nonsense.length + 1);
    const failures = answers.slice(0, -1);
    expect(failures.map(({ type, code }) => [type, code])).toEqual([
      ...nonsense.slice(0, -1).map(() => ['failure', 'malformed']),
      ['failure', 'unavailable'],
    ]);
    expect(answers.at(-1)).toMatchObject({ type: 'report', id: 5 });
  });

  it('tells what the firmware refuses by number, status and hint', async () => {
    const { path } = await serve();
    const request = line({ type: 'key', id: 1, root: 'VEK', fields, guestSvn: 99 });
    expect(await exchange(path, request, 1)).toEqual([
      {
        type: 'failure',
        id: 1,
        code: 'request-refused',
        status: 0x16,
        message: expect.stringContaining('INVALID_PARAM'),
        hint: expect.stringContaining('cannot be above'),
      },
    ]);
  });

  it('serves several clients, and outlives those that break off', async () => {
    const { path } = await serve();
    const rude = createConnection(path);
    await once(rude, 'connect');
    rude.write('{"type":"rep');
    rude.destroy();
    const [one, two] = await Promise.all([
      exchange(path, reportLine(1), 1),
      exchange(path, reportLine(2), 1),
    ]);
    expect([one[0]?.['id'], two[0]?.['id']]).toEqual([1, 2]);
  });

  it('takes the place of a dead one, and of nothing else', async () => {
    const { path, served } = await serve();
    await expect(serveAttestationSocket(softwareDevice(), path)).rejects.toThrow('another process listens');
    await served.close();
    const file = join(temporaryFolder(), 'file');
    writeFileSync(file, '');
    await expect(serveAttestationSocket(softwareDevice(), file)).rejects.toThrow('not a socket');
    const lost = join(temporaryFolder(), 'none', 'x.socket');
    await expect(serveAttestationSocket(softwareDevice(), lost)).rejects.toThrow(UnavailableError);
    // A socket file that a killed process left behind.
    const dead = join(temporaryFolder(), 'dead.socket');
    const script = `require('node:net').createServer().listen(${JSON.stringify(dead)}, () => process.kill(process.pid, 'SIGKILL'))`;
    await promisify(execFile)(process.execPath, ['-e', script]).catch(() => undefined);
    expect(statSync(dead).isSocket()).toBe(true);
    const again = await serveAttestationSocket(softwareDevice(), dead);
    await again.close();
  });
});

/** A server that answers each line with what the test says. */
async function answering(answers: (line: string, socket: Socket) => string): Promise<string> {
  const path = join(temporaryFolder(), 'hostile.socket');
  const answerAll = async (socket: Socket) => {
    for await (const each of linesOf(socket, attestationLineLimit)) socket.write(answers(each ?? '', socket));
  };
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    // The client, or the test's answer, ends the connection.
    answerAll(socket).catch(() => undefined);
  });
  server.listen(path);
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  return path;
}

const idOf = (text: string) => (JSON.parse(text) as { id: number }).id;

describe('a client', () => {
  it.each<[string, (text: string, socket: Socket) => string, string]>([
    ['nonsense', () => 'nonsense\n', 'it answers nonsense'],
    [
      'a report of another size',
      (text) => line({ type: 'report', id: idOf(text), report: 'AAAA' }),
      'nonsense',
    ],
    [
      'a key when a report was asked for',
      (text) => line({ type: 'key', id: idOf(text), key: toBase64(new Uint8Array(32)) }),
      'answered a report request with a key',
    ],
    ['a line without end', () => `${'x'.repeat(attestationLineLimit)}\n`, 'longer than'],
    [
      'the end of the connection',
      (_text, socket) => {
        socket.destroy();
        return '';
      },
      'hung up',
    ],
  ])('refuses %s', async (_what, answers, message) => {
    const device = socketAttestationDevice({ path: await answering(answers) });
    onTestFinished(() => device.close());
    await expect(device.report({ reportData })).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining(message),
    });
  });

  it('passes over answers to others, and connects anew after a failure', async () => {
    const good = toBase64((await softwareDevice().report({ reportData })).report);
    let connections = 0;
    const path = await answering((text) => {
      connections += 1;
      if (connections === 1) return 'nonsense\n';
      const stale = line({
        type: 'report',
        id: (idOf(text) + 2 ** 31) % 2 ** 32,
        report: toBase64(new Uint8Array(1184)),
      });
      return stale + line({ type: 'report', id: idOf(text), report: good });
    });
    const device = socketAttestationDevice({ path });
    onTestFinished(() => device.close());
    await expect(device.report({ reportData })).rejects.toThrow(UnavailableError);
    expect(parseSnpReport((await device.report({ reportData })).report).reportData).toEqual(reportData);
  });

  it('says when there is nobody', async () => {
    const path = join(temporaryFolder(), 'none.socket');
    await expect(socketAttestationDevice({ path }).report({ reportData })).rejects.toMatchObject({
      hint: expect.stringContaining('guest device serve'),
    });
  });

  it('numbers its requests from where it is told, around the end', async () => {
    const ids: number[] = [];
    const path = await answering((text) => {
      ids.push(idOf(text));
      return line({ type: 'failure', id: idOf(text), code: 'unavailable', message: 'no' });
    });
    const device = socketAttestationDevice({ path, firstId: 2 ** 32 - 2 });
    onTestFinished(() => device.close());
    for (let i = 0; i < 2; i++) await expect(device.report({ reportData })).rejects.toThrow('no');
    expect(ids).toEqual([2 ** 32 - 1, 0]);
  });
});

/** A serial line is one stream for both directions that never ends. */
describe('a serial line', () => {
  function cable(): { guest: ByteStream; host: Duplex } {
    const [toHost, toGuest] = [new PassThrough(), new PassThrough()];
    const host = Duplex.from({ readable: toHost, writable: toGuest });
    const guest: ByteStream = {
      chunks: toGuest,
      write: async (text) => void toHost.write(text),
      close: () => void toHost.end(),
    };
    return { guest, host };
  }

  it('carries reports and keys, after whatever the line held before', async () => {
    const { guest, host } = cable();
    const serving = serveAttestationStream(softwareDevice(), host);
    await guest.write('login: root\n');
    const device = socketAttestationDevice({ path: '/dev/vport0p1', connect: async () => guest });
    // The answer to the line before is a failure without a number, which ends this call; the next one is clean.
    await expect(device.report({ reportData })).rejects.toThrow(UnavailableError);
    expect(parseSnpReport((await device.report({ reportData })).report).vmpl).toBe(0);
    const key = await device.deriveKey({ root: 'VEK', fields });
    expect(openSecret(key).length).toBe(32);
    await device.close();
    await serving;
  });
});

/** Makes a pseudo terminal that passes bytes as they are, prints its path, and carries bytes between it and itself. */
const terminal = `
import os, pty, select, tty
host, guest = pty.openpty()
tty.setraw(guest)
os.write(1, os.ttyname(guest).encode() + b'\\n')
while True:
    for ready in select.select([0, host], [], [])[0]:
        data = os.read(ready, 4096)
        if not data: raise SystemExit
        os.write(host if ready == 0 else 1, data)
`;
const python = '/usr/bin/python3';

describe('a character device', () => {
  if (!existsSync(python))
    it.skipIf(true)('python3, which makes a terminal, is not installed', () => undefined);
  else {
    it('is used as a socket is, and is not read from when nothing is awaited', async () => {
      const line = spawn(python, ['-c', terminal], { stdio: ['pipe', 'pipe', 'inherit'] });
      const ended = once(line, 'close');
      const [path] = (await once(line.stdout, 'data')) as [Buffer];
      const host = Duplex.from({ readable: line.stdout, writable: line.stdin });
      const serving = serveAttestationStream(softwareDevice(), host);
      const device = socketAttestationDevice({ path: path.toString().trim() });
      const evidence = await device.report({ reportData });
      expect(parseSnpReport(evidence.report).reportData).toEqual(reportData);
      expect(evidence.certificateTable).toEqual(scriptedCertificateTable);
      expect(openSecret(await device.deriveKey({ root: 'VEK', fields })).length).toBe(32);
      await device.close();
      line.stdin.end();
      await Promise.all([serving, ended]);
    });
  }
});

describe('lines', () => {
  const read = async (chunks: string[], limit = 8) => {
    const stream = (async function* () {
      for (const chunk of chunks) yield new TextEncoder().encode(chunk);
    })();
    const lines: (string | undefined)[] = [];
    for await (const each of linesOf(stream, limit)) lines.push(each);
    return lines;
  };

  it.each<[string[], (string | undefined)[]]>([
    [
      ['a\nb', 'c\n', '\n'],
      ['a', 'bc', ''],
    ],
    [['1234567\n'], ['1234567']],
    [['12345678\nx\n'], [undefined, 'x']],
    [
      ['1234', '5678', '9', '\nx\n'],
      [undefined, 'x'],
    ],
    [['no end'], []],
    [['ä'], []],
  ])('%j', async (chunks, lines) => {
    expect(await read(chunks)).toEqual(lines);
  });
});

it('is spoken by programs that know nothing of us', async () => {
  const { path } = await serve();
  const script = `
    const socket = require('node:net').connect(process.argv[1]);
    socket.write(process.argv[2] + '\\n');
    let text = '';
    socket.on('data', (part) => { text += part; if (text.includes('\\n')) { process.stdout.write(text); socket.end(); } });`;
  const run = promisify(execFile)(process.execPath, ['-e', script, path, reportLine(3).trim()]);
  const answer = JSON.parse((await run).stdout) as { id: number; report: string };
  expect([answer.id, fromBase64(answer.report).length]).toEqual([3, 1184]);
});
