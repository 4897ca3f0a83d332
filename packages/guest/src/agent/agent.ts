import { once } from 'node:events';
import { chmod, mkdir } from 'node:fs/promises';
import type { AddressInfo, Server } from 'node:net';
import { dirname } from 'node:path';
import type { KeyProvider, ServedMethod } from '@vouchsafe/protocol';
import { InvalidArgumentError, UnavailableError } from '@vouchsafe/sev';
import { listenOnUnixSocket } from '../sockets/unix-listener.js';
import type { RestFeatures } from './configuration/kernel-command-line.js';
import {
  type AttestationServiceOptions,
  attestationCalls,
  attestationService,
} from './services/attestation.js';
import { type DataHubOptions, dataHubCalls, dataHubServices } from './services/data-hub.js';
import { guestKeyProvider, keyProviderService } from './services/key-provider.js';
import type { AgentServer } from './transport/agent-server.js';
import { type CallerRules, requireCaller } from './transport/callers.js';
import { restServer } from './transport/rest-server.js';
import { ttrpcServer } from './transport/ttrpc-server.js';

/** Where Kata's agent and containers' tools look for an agent. */
export const agentPaths = {
  attestationSocket: '/run/confidential-containers/attestation-agent/attestation-agent.sock',
  dataHubSocket: '/run/confidential-containers/cdh.sock',
  attestationGrpc: '127.0.0.1:50002',
  dataHubGrpc: '127.0.0.1:50000',
  rest: '127.0.0.1:8006',
} as const;

export type AgentOptions = AttestationServiceOptions &
  DataHubOptions & {
    /** For `/info`. */
    readonly version: string;
    readonly rules: CallerRules;
  };

/** A guest's agent, not yet reachable. */
export interface Agent {
  readonly keyProvider: KeyProvider;
  /** Serves it where callers look; each is left out where no place is named. */
  serve(places: AgentPlaces): Promise<ServedAgent>;
}

export interface AgentPlaces {
  /** ttrpc: paths of unix sockets. */
  readonly attestationSocket?: string;
  readonly dataHubSocket?: string;
  /** gRPC: loopback `HOST:PORT`, or the path of a unix socket after `unix:`. Port 0 takes any. */
  readonly attestationGrpc?: string;
  readonly dataHubGrpc?: string;
  /** HTTP: loopback `HOST:PORT`. */
  readonly rest?: string;
  readonly restFeatures?: RestFeatures;
}

export interface ServedAgent {
  /** Where it is reached, by what was asked for; ports are those that were taken. */
  readonly places: AgentPlaces;
  close(): Promise<void>;
}

/** Puts the agent's services together. Nothing is fetched and nobody is asked before the first call. */
export function createAgent(options: AgentOptions): Agent {
  const attestation = attestationCalls(options);
  const dataHub = dataHubCalls(options);
  const keyProvider = guestKeyProvider(options.resources);
  const methods = {
    attestation: attestationService(attestation),
    dataHub: [...dataHubServices(dataHub, options), ...keyProviderService(keyProvider)],
  };
  const grpcOf = (served: readonly ServedMethod[], place: string) => grpcAt(served, place, options.rules);

  return {
    keyProvider,
    async serve(places) {
      const { restFeatures: features = 'resource' } = places;
      const servers: AgentServer[] = [];
      const reached: Record<string, string> = {};
      const close = async () => {
        await Promise.all(servers.map((each) => each.close()));
      };
      const makers: {
        readonly [name in keyof AgentPlaces]?: (place: string) => AgentServer | Promise<AgentServer>;
      } = {
        attestationSocket: () => ttrpcServer(methods.attestation),
        dataHubSocket: () => ttrpcServer(methods.dataHub),
        attestationGrpc: (place) => grpcOf(methods.attestation, place),
        dataHubGrpc: (place) => grpcOf(methods.dataHub, place),
        rest: () => restServer({ ...options, attestation, dataHub, features }),
      };
      try {
        for (const [name, make] of Object.entries(makers)) {
          const place = places[name as keyof AgentPlaces];
          if (place === undefined) continue;
          const made = await make(place);
          const isSocket = name.endsWith('Socket');
          reached[name] = isSocket ? await listenAt(made.server, place) : await listenOn(made.server, place);
          servers.push(made);
        }
      } catch (error) {
        await close();
        throw error;
      }
      return { places: { ...reached, restFeatures: features }, close };
    },
  };
}

/**
 * Serves a key provider alone over gRPC, for container tools.
 * @param place loopback `HOST:PORT`, or the path of a unix socket after `unix:`; port 0 takes any
 * @throws UnavailableError when it cannot listen there
 */
export async function serveKeyProvider(
  provider: KeyProvider,
  place: string,
  rules: CallerRules,
): Promise<{ readonly place: string; close(): Promise<void> }> {
  const { server, close } = await grpcAt(keyProviderService(provider), place, rules);
  try {
    return { place: await listenOn(server, place), close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function grpcAt(
  served: readonly ServedMethod[],
  place: string,
  rules: CallerRules,
): Promise<AgentServer> {
  // Loaded here and not above: whoever uses another part of this package need not wait for it.
  const { grpcServer } = await import('./transport/grpc-server.js');
  return grpcServer(served, async (socket) => {
    if (!place.startsWith('unix:')) await requireCaller(socket, rules);
  });
}

/** The folder is for everybody to look into; the socket is for this user alone. */
async function listenAt(server: Server, path: string): Promise<string> {
  const folder = dirname(path);
  try {
    const made = await mkdir(folder, { recursive: true, mode: 0o755 });
    if (made !== undefined) await chmod(folder, 0o755);
  } catch (cause) {
    throw new UnavailableError(path, 'its folder cannot be made', { cause });
  }
  await listenOnUnixSocket(server, path);
  return path;
}

async function listenOn(server: Server, place: string): Promise<string> {
  if (place.startsWith('unix:')) return `unix:${await listenAt(server, place.slice('unix:'.length))}`;
  const [, host = '', portText = ''] = /^(.*):(\d{1,5})$/s.exec(place) ?? [];
  const name = host.replace(/^\[(.*)\]$/, '$1');
  const port = Number(portText);
  if (!/^127(?:\.\d{1,3}){3}$/.test(name) && name !== '::1')
    throw new InvalidArgumentError(
      'address',
      `expected 127.0.0.1:PORT or [::1]:PORT, found ${JSON.stringify(place)}`,
      {
        hint: 'the agent answers its own machine only',
      },
    );
  if (port > 0xffff) throw new InvalidArgumentError('address', 'expected a port of at most 65535');
  server.listen(port, name);
  await once(server, 'listening').catch((cause: unknown) => {
    throw new UnavailableError(place, `cannot listen: ${String(cause)}`, { cause });
  });
  return `${host}:${(server.address() as AddressInfo).port}`;
}
