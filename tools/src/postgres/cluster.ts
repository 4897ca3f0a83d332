import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const versions = '/usr/lib/postgresql';

/** The folder of the newest server's programs, or undefined where Debian's `postgresql` is not installed. */
export function postgresPrograms(): string | undefined {
  if (!existsSync(versions)) return undefined;
  const folders = readdirSync(versions)
    .sort((a, b) => Number(b) - Number(a))
    .map((version) => join(versions, version, 'bin'));
  return folders.find((folder) => existsSync(join(folder, 'initdb')));
}

export interface PostgresCluster {
  /** A new, empty database. */
  createDatabase(): string;
  /** Ends it and removes its files. */
  stop(): void;
}

/**
 * A throwaway cluster on loopback. The server refuses to run as root, so it runs as `postgres` then.
 * @param durable waits for the disk at every commit, as a real one does
 */
export async function startPostgres({ durable = false } = {}): Promise<PostgresCluster> {
  const programs = postgresPrograms();
  if (programs === undefined) throw new Error('Debian’s package postgresql is not installed');
  const folder = mkdtempSync(join(tmpdir(), 'vouchsafe-postgres-'));
  const run = (program: string, ...args: string[]) => {
    const line = [join(programs, program), ...args];
    const command = process.getuid?.() === 0 ? [...asPostgres, ...line] : line;
    // The server inherits its output: a pipe would stay open for as long as it runs.
    const { status } = spawnSync(command[0]!, command.slice(1), { cwd: folder, stdio: 'ignore' });
    if (status !== 0) throw new Error(`${program} ended with status ${status}`);
  };
  if (process.getuid?.() === 0) execFileSync('chown', ['postgres', folder]);
  const data = join(folder, 'data');
  const port = await freePort();
  try {
    run('initdb', '-D', data, '-A', 'trust', '-U', 'app', '--no-sync', '-E', 'UTF8', '--locale=C');
    const settings = `-p ${port} -k ${folder} -c listen_addresses=127.0.0.1 -c fsync=${durable ? 'on' : 'off'} -c max_connections=200 -c deadlock_timeout=50ms`;
    run('pg_ctl', '-w', '-D', data, '-l', join(folder, 'log'), '-o', settings, 'start');
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
  let databases = 0;
  return {
    createDatabase() {
      const name = `test${++databases}`;
      run('createdb', '-h', '127.0.0.1', '-p', String(port), '-U', 'app', name);
      return `postgres://app@127.0.0.1:${port}/${name}`;
    },
    stop() {
      run('pg_ctl', '-w', '-m', 'immediate', '-D', data, 'stop');
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

const asPostgres = ['setpriv', '--reuid=postgres', '--regid=postgres', '--init-groups', '--'];

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() =>
        typeof address === 'object' && address !== null
          ? resolve(address.port)
          : reject(new Error('no port is free')),
      );
    });
  });
}
