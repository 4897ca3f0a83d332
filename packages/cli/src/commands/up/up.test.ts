import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { openDevelopmentAuthority } from '@vouchsafe/kds';
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { testAuthorityKeys } from '../../../../kds/src/testing/authority-keys.js';
import { temporaryFolder } from '../../../../kds/src/testing/temporary.js';
import { ConsoleShell } from '../../testing/console-page.js';
import { build, freePort } from '../../testing/process.js';
import { recordingIo, run } from '../../testing/run.js';
import { type Service, startService } from './processes.js';
import { Services } from './services.js';

beforeAll(build);

/** Many processes take turns on a busy computer. Milliseconds. */
const timeout = 300_000;

interface Up {
  readonly keyService: { readonly url: string };
  readonly broker: { readonly address: string; readonly data: string };
  readonly machine: { readonly measurement: string; readonly chipId: string; readonly device: string };
  readonly secret: { readonly file: string | null; readonly refused: string | null };
  readonly next: readonly { readonly command: string; readonly explains: string }[];
}

/** A folder for an authority that need not make its keys, which takes seconds. */
async function authorityIn(folder: string): Promise<string> {
  const authority = join(folder, 'authority');
  await openDevelopmentAuthority({
    folder: authority,
    generation: 'milan',
    generateKeys: testAuthorityKeys,
  });
  return authority;
}

/** Resolves when the one who listens there has ended. */
async function untilGone(target: { path: string } | { port: number; host: string }): Promise<unknown> {
  const socket = createConnection(target);
  onTestFinished(() => void socket.destroy());
  await once(socket, 'connect');
  socket.on('error', () => undefined);
  return once(socket, 'close');
}

const tcp = (url: string) => ({ host: '127.0.0.1', port: Number(new URL(url).port) });

describe('vouchsafe up', () => {
  it(
    'releases a secret, prints commands that work, and goes on with the same folder',
    { timeout },
    async () => {
      const folder = temporaryFolder();
      const data = join(folder, 'data');
      await authorityIn(data);
      const { io, output } = recordingIo();
      const start = async (...more: string[]): Promise<Service<Up>> => {
        const words = ['up', '--data', data, ...more];
        const service = await startService<Up>(words, { name: 'up', io, patience: 60_000 });
        onTestFinished(() => service.close());
        return service;
      };
      const shell = new ConsoleShell(folder);
      onTestFinished(() => shell.close());

      const listen = `127.0.0.1:${await freePort()}`;
      const first = await start('--listen', listen);
      const { broker, machine, secret, next } = first.document;
      expect(broker.address).toBe(`http://${listen}`);
      expect(secret.refused).toBeNull();
      const key = readFileSync(secret.file ?? '', 'utf8');
      expect(key).toMatch(/^[0-9a-f]{64}$/);

      expect(next).toHaveLength(5);
      const outputs: string[] = [];
      for (const { command } of next) {
        const { exit, output: text } = await shell.run(command);
        expect([exit, text], command).toEqual([0, expect.any(String)]);
        outputs.push(text);
      }
      const [fetched, explained, launched, tail, verified] = outputs;
      expect(fetched).toBe('Wrote disk.key (keep it secret)\n');
      expect((await shell.run('cat disk.key')).output).toBe(key);
      expect(explained).toMatch(/denied by ready-made\n +claim +measurement\n/);
      expect(launched).toMatch(/^accepted: .* for this sev-es guest\n/);
      expect(tail).toMatch(/decision +default\/key\/other +denied/);
      expect(tail).toMatch(/decision +default\/key\/disk +allowed by the-machine\n/);
      expect(tail).toMatch(/decision +default\/key\/disk +allowed by the-machine-before-launch\n/);
      expect(verified).toMatch(/^accepted: record/);
      for (const text of outputs) expect(text).not.toContain(key);

      const ofSecret = (word: string) =>
        shell.run(`vouchsafe broker secret ${word} default/key/disk --data ${broker.data}`);
      expect((await ofSecret('disable')).exit).toBe(0);
      await first.close();
      expect(await first.gone).toBe(0);
      expect(existsSync(join(broker.data, 'address'))).toBe(false);

      const second = await start();
      const again = second.document;
      expect(again.secret).toMatchObject({
        file: null,
        refused: expect.stringContaining('default/key/disk'),
      });
      expect(again.machine.chipId).toBe(machine.chipId);
      expect([again.broker, again.keyService, again.next].map((each) => ({ ...each, pid: 0 }))).toEqual(
        [broker, first.document.keyService, next].map((each) => ({ ...each, pid: 0 })),
      );
      expect((await ofSecret('enable')).exit).toBe(0);
      for (const { command } of next) expect((await shell.run(command)).exit, command).toBe(0);
      expect((await shell.run('cat disk.key')).output).toBe(key);

      const gone = [
        untilGone({ path: machine.device }),
        ...[broker.address, again.keyService.url].map((url) => untilGone(tcp(url))),
      ];
      process.kill(second.pid, 'SIGKILL');
      await Promise.all(gone);
      expect(output().stderr).toBe('');
    },
  );

  it('says what to do about a folder that it cannot use', async () => {
    const long = await run(['up', '--data', 'a'.repeat(100)]);
    expect([long.exit, long.stderr]).toEqual([2, expect.stringContaining('shorter path')]);
  });
});

describe('services', () => {
  it('end together, and the one that ended first is named', async () => {
    const authority = await authorityIn(temporaryFolder());
    const { io } = recordingIo();
    const services = new Services(io);
    onTestFinished(() => services.close());
    const words = ['kds', 'serve', '--authority', authority];
    const [one, two] = await Promise.all(
      ['one', 'two'].map((name) => services.start<{ readonly url: string }>(name, words)),
    );
    const gone = untilGone(tcp(two?.url ?? ''));
    const ended = services.untilStopped(new AbortController().signal);
    process.kill(one?.pid ?? 0, 'SIGKILL');
    await expect(ended).rejects.toThrow('one: its process ended');
    await gone;
  });

  it('that cannot start say why', async () => {
    const { io } = recordingIo();
    const authority = join(await authorityIn(temporaryFolder()), 'milan', 'ark.der');
    const words = ['kds', 'serve', '--authority', authority];
    await expect(startService(words, { name: 'key service', io })).rejects.toThrow(
      /^key service: .*ark\.der/,
    );
  });
});
