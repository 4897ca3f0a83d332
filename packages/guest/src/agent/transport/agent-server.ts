import type { Server as NetServer, Socket } from 'node:net';

/** Judges a connection before anything is read from it. @throws when its caller may not call */
export type Doorkeeper = (socket: Socket) => Promise<void>;

/** A server that does not listen yet, and how to end it. */
export interface AgentServer {
  readonly server: NetServer;
  close(): Promise<void>;
}
