import { execFile, spawn } from 'node:child_process';
import { copyFileSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** Debian's packages that the peer is made with. */
export const peerPackages = 'protobuf-compiler, protobuf-compiler-grpc, python3-protobuf, python3-grpcio';
/** Debian's own, whatever stands first in PATH. */
const python = '/usr/bin/python3';
const plugin = '/usr/bin/grpc_python_plugin';

export interface PeerCall {
  readonly transport: 'grpc' | 'ttrpc';
  readonly target: string;
  readonly service: string;
  readonly method: string;
  readonly request: object;
}
export interface PeerResult {
  readonly code: number;
  readonly answer?: Readonly<Record<string, unknown>>;
  readonly message?: string;
}

/** A client of the agent that shares nothing with it: protoc's and gRPC's own code in Python. */
export interface AgentPeer {
  call(calls: readonly PeerCall[], user?: number): Promise<PeerResult[]>;
  remove(): void;
}

/** Undefined where the packages are missing. */
export async function makeAgentPeer(): Promise<AgentPeer | undefined> {
  if (!existsSync('/usr/bin/protoc') || !existsSync(plugin) || !existsSync(python)) return undefined;
  const run = promisify(execFile);
  try {
    await run(python, ['-c', 'import grpc, google.protobuf']);
  } catch {
    return undefined;
  }
  const folder = mkdtempSync(join(tmpdir(), 'vouchsafe-peer-'));
  const here = import.meta.dirname;
  const files = readdirSync(here).filter((name) => name.endsWith('.proto'));
  const out = [`--python_out=${folder}`, `--grpc_out=${folder}`, `--plugin=protoc-gen-grpc=${plugin}`];
  await run('/usr/bin/protoc', ['-I', here, ...out, ...files]);
  // A copy, as a clone may lie where another user cannot read.
  const script = join(folder, 'client.py');
  copyFileSync(join(here, 'client.py'), script);
  await run('chmod', ['-R', 'a+rX', folder]);
  return {
    call: (calls, user) => ask(script, folder, calls, user),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

function ask(script: string, folder: string, calls: readonly PeerCall[], uid: number | undefined) {
  return new Promise<PeerResult[]>((resolve, reject) => {
    const child = spawn(python, [script, folder], {
      stdio: ['pipe', 'pipe', 'inherit'],
      // Without the machine's proxies, which are not for loopback.
      env: { PATH: '/usr/bin:/bin', PYTHONDONTWRITEBYTECODE: '1', GRPC_VERBOSITY: 'NONE' },
      cwd: '/',
      ...(uid === undefined ? {} : { uid, gid: uid }),
    });
    const output: Buffer[] = [];
    child.stdout.on('data', (part: Buffer) => output.push(part));
    child.once('error', reject);
    child.once('close', (status) => {
      if (status !== 0) reject(new Error(`the peer ended with ${status}`));
      else resolve(JSON.parse(Buffer.concat(output).toString()) as PeerResult[]);
    });
    child.stdin.end(JSON.stringify(calls));
  });
}
