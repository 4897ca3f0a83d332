import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text as allOf } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { readyMadePolicy, referenceFormat, signReferenceDocument } from '@vouchsafe/broker';
import { toBase64 } from '@vouchsafe/sev';
import type { SoftwareChip } from '../software-chip/chip.js';
import { type Ask, good } from './guest.js';
import { connect } from './requests.js';

/** The command as it is built. */
const command = fileURLToPath(new URL('../../../packages/cli/bin/vouchsafe.js', import.meta.url));

/**
 * Makes a broker's folder with `vouchsafe broker init`. It admits any number of requests: a load comes from one address
 * and one chip.
 */
export async function initialise(
  folder: string,
  chip: SoftwareChip,
  database = 'sqlite:broker.db',
): Promise<void> {
  const set = { data: folder, listen: '127.0.0.1:0', database, root: chip.root, kds: chip.keyService };
  const words = Object.entries(set).flatMap(([name, value]) => [`--${name}`, value]);
  const child = spawn(process.execPath, [command, 'broker', 'init', ...words], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const [errors] = await Promise.all([allOf(child.stderr), once(child, 'close')]);
  if (child.exitCode !== 0) throw new Error(`broker init: ${errors}`);
  const file = join(folder, 'broker.toml');
  const rates = ['requests-per-minute', 'attestations-per-chip-per-minute'].map(
    (name) => `${name} = 1000000`,
  );
  writeFileSync(file, `replica = "one"\n${readFileSync(file, 'utf8')}\n[limits]\n${rates.join('\n')}\n`);
}

/** Another replica of a broker: the same but for its name. */
export function copyReplica(folder: string, copy: string, name: string): void {
  cpSync(folder, copy, { recursive: true });
  const file = join(copy, 'broker.toml');
  writeFileSync(
    file,
    readFileSync(file, 'utf8').replace('replica = "one"', `replica = ${JSON.stringify(name)}`),
  );
}

export interface ReplicaOptions {
  /** Words before the command, such as those that choose a processor. */
  readonly wrapper?: readonly string[];
  readonly log?: 'warn' | 'info' | 'debug';
  /** Variables beside those of this process. */
  readonly environment?: Readonly<Record<string, string>>;
}

/** A broker in a process of its own. */
export interface Replica {
  /** `http://127.0.0.1:PORT` */
  readonly address: string;
  readonly process: ChildProcess;
  /** What it has written so far. */
  output(): string;
  /** Ends it. @param signal SIGKILL ends it in the middle of everything */
  end(signal?: 'SIGTERM' | 'SIGKILL'): Promise<void>;
}

/** Serves the broker of a folder. @throws Error with what it wrote, if it ends before it answers */
export async function startReplica(folder: string, options: ReplicaOptions = {}): Promise<Replica> {
  const { wrapper = [], log = 'warn', environment = {} } = options;
  const words = [...wrapper, process.execPath, command, 'broker', 'serve', '--data', folder, '--log', log];
  const child = spawn(words[0]!, words.slice(1), {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...environment },
  });
  let output = '';
  const closed = once(child, 'close');
  const address = await new Promise<string>((resolve, reject) => {
    const note = (part: string) => {
      output += part;
      const found = /Key broker at (http:\S+)\n/.exec(output)?.[1];
      if (found !== undefined) resolve(found);
    };
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', note);
    child.on('error', reject);
    child.on('close', () => reject(new Error(`the broker ended: ${output}`)));
  });
  return {
    address,
    process: child,
    output: () => output,
    async end(signal = 'SIGTERM') {
      child.kill(signal);
      await closed;
    },
  };
}

/** What a broker's first administrator asks. */
export function administrator(folder: string, ask: Ask): Ask {
  const token = readFileSync(join(folder, 'admin.token'), 'utf8').trim();
  const own = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
  return (question) => ask({ ...question, headers: { ...own, ...question.headers } });
}

/** Makes the chip's guests known to a broker, which then releases every secret to them. */
export async function admitGuests(folder: string, address: string, chip: SoftwareChip): Promise<void> {
  const key = JSON.parse(readFileSync(join(folder, 'reference-issuer.jwk'), 'utf8'));
  const document = await signReferenceDocument(
    {
      format: referenceFormat,
      issuer: 'owner',
      name: 'guests',
      version: 1,
      notBefore: new Date(Date.now() - 60_000).toISOString(),
      notAfter: new Date(Date.now() + 24 * 3_600_000).toISOString(),
      measurements: [{ value: chip.measurement }],
    },
    key,
  );
  const policy = readyMadePolicy({ measurements: [chip.measurement] });
  const connection = connect(address);
  try {
    const ask = administrator(folder, connection.ask);
    await good(ask, { method: 'POST', path: '/v1/reference-values', body: JSON.stringify({ document }) });
    const body = JSON.stringify({ policy: toBase64(new TextEncoder().encode(policy)) });
    await good(ask, { method: 'PUT', path: '/v1/policies/default', body });
  } finally {
    connection.close();
  }
}

/** Stores a version of a secret. @param releases how often it may be released, if not any number of times */
export async function storeSecret(ask: Ask, path: string, secret: string, releases?: number): Promise<void> {
  const content = toBase64(new TextEncoder().encode(secret));
  const limit = releases === undefined ? {} : { releases };
  await good(ask, {
    method: 'PUT',
    path: `/v1/secrets/${path}`,
    body: JSON.stringify({ content, ...limit }),
  });
}
