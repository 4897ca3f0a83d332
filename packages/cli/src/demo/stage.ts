import { type ChildProcess, fork } from 'node:child_process';
import { UnavailableError } from '@vouchsafe/sev';
import type { NarrationEvent, Role } from './narration.js';
import type { FromRole, ToRole } from './role-process.js';

/** The roles of a demo, each in a process of its own. */
export interface Stage {
  /**
   * Starts a role, or has it play again in the process that it has; resolves with what it says when it is ready.
   * @param script of the role's process, where it is not the one of the launches
   * @throws UnavailableError when it fails before that
   */
  start<T>(role: Role, settings: object, script?: URL): Promise<Actor<T>>;
  /** Ends every process. */
  close(): Promise<void>;
}

export interface Actor<T> {
  readonly ready: T;
  /** What the role says at its end; rejects when it fails. */
  readonly ended: Promise<unknown>;
}

/** Processes are told apart in `ps` by the name of their file. */
const scriptOf = (role: Role) => new URL(`./roles/${role.replace(' ', '-')}.js`, import.meta.url);

export type TellNow = (event: NarrationEvent) => void;

/** One play of a role, as it is waited for. */
interface Play {
  ready(value: unknown): void;
  end(value: unknown): void;
  fail(error: Error): void;
}

interface RoleProcess {
  readonly child: ChildProcess;
  readonly plays: Play[];
}

/** @param signal ends every process too */
export function openStage(tell: TellNow, signal?: AbortSignal): Stage {
  const processes = new Map<string, RoleProcess>();
  const abort = () => void close();
  signal?.addEventListener('abort', abort, { once: true });

  async function close(): Promise<void> {
    signal?.removeEventListener('abort', abort);
    await Promise.all(
      [...processes.values()].map(({ child }) => {
        if (child.exitCode !== null || child.signalCode !== null) return undefined;
        const gone = new Promise((resolve) => child.once('exit', resolve));
        child.kill();
        return gone;
      }),
    );
  }

  function begin(role: Role, script: URL): RoleProcess {
    const child = fork(script, { serialization: 'advanced', stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
    const plays: Play[] = [];
    let complaint = '';
    child.stderr?.on('data', (part) => {
      complaint += String(part);
    });
    child.on('message', (message: FromRole) => {
      if (message.type === 'tell') {
        tell(message.event);
        send(child, { type: 'told', id: message.id });
        return;
      }
      const play = plays[message.play]!;
      if (message.type === 'failed') play.fail(new UnavailableError(role, message.message, message));
      else if (message.type === 'ready') play.ready(message.value);
      else play.end(message.value);
    });
    const failAll = (error: Error) => {
      for (const play of plays) play.fail(error);
    };
    child.on('error', failAll);
    child.on('exit', (code) => {
      const [first = ''] = complaint.split('\n').filter((line) => line.trim() !== '');
      const why = `its process ended with status ${code}${first && `: ${first}`}`;
      failAll(new UnavailableError(role, why));
    });
    return { child, plays };
  }

  return {
    start<T>(role: Role, settings: object, script = scriptOf(role)): Promise<Actor<T>> {
      const known = processes.get(script.href) ?? begin(role, script);
      processes.set(script.href, known);
      const { child, plays } = known;
      return new Promise<Actor<T>>((resolve, reject) => {
        let play: Play | undefined;
        const ended = new Promise<unknown>((end, failed) => {
          play = {
            ready: (value) => resolve({ ready: value as T, ended }),
            end,
            fail(error) {
              reject(error);
              failed(error);
            },
          };
        });
        ended.catch(() => undefined);
        send(child, { type: 'start', play: plays.push(play!) - 1, settings });
      });
    },

    close,
  };
}

function send(child: ChildProcess, message: ToRole): void {
  if (child.connected) child.send(message);
}
