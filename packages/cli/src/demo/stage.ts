import { type ChildProcess, fork } from 'node:child_process';
import { UnavailableError } from '@vouchsafe/sev';
import type { NarrationEvent, Role } from './narration.js';
import type { FromRole, ToRole } from './role-process.js';

/** The roles of a demo, each in a process of its own. */
export interface Stage {
  /** Starts a role; resolves with what it says when it is ready. @throws UnavailableError when it fails before that */
  start<T>(role: Role, settings: object): Promise<Actor<T>>;
  /** Ends every process. */
  close(): Promise<void>;
}

export interface Actor<T> {
  readonly ready: T;
  /** What the role says at its end; rejects when it fails. */
  readonly ended: Promise<unknown>;
}

/** Processes are told apart in `ps` by the name of their file. */
const file = (role: Role) => new URL(`./roles/${role.replace(' ', '-')}.js`, import.meta.url);

export function openStage(tell: (event: NarrationEvent) => void): Stage {
  const children: ChildProcess[] = [];

  return {
    start<T>(role: Role, settings: object): Promise<Actor<T>> {
      const child = fork(file(role), {
        serialization: 'advanced',
        stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      });
      children.push(child);
      let complaint = '';
      child.stderr?.on('data', (part) => {
        complaint += String(part);
      });
      let settle: { resolve(value: unknown): void; reject(error: Error): void } | undefined;
      const ended = new Promise<unknown>((resolve, reject) => {
        settle = { resolve, reject };
      });
      ended.catch(() => undefined);

      return new Promise<Actor<T>>((resolve, reject) => {
        const fail = (error: Error) => {
          reject(error);
          settle?.reject(error);
        };
        child.on('message', (message: FromRole) => {
          switch (message.type) {
            case 'tell':
              tell(message.event);
              send(child, { type: 'told', id: message.id });
              break;
            case 'ready':
              resolve({ ready: message.value as T, ended });
              break;
            case 'ended':
              settle?.resolve(message.value);
              break;
            case 'failed':
              fail(new UnavailableError(role, message.message, { hint: message.hint }));
          }
        });
        child.on('error', fail);
        child.on('exit', (code) => {
          const [first = ''] = complaint.split('\n').filter((line) => line.trim() !== '');
          fail(new UnavailableError(role, `its process ended with status ${code}${first && `: ${first}`}`));
        });
        send(child, { type: 'start', settings });
      });
    },

    async close() {
      await Promise.all(
        children.map((child) => {
          if (child.exitCode !== null || child.signalCode !== null) return undefined;
          const gone = new Promise((resolve) => child.once('exit', resolve));
          child.kill();
          return gone;
        }),
      );
    },
  };
}

function send(child: ChildProcess, message: ToRole): void {
  if (child.connected) child.send(message);
}
