import { createKdsClient, type KdsClientOptions, NotCachedError } from './client.js';
import type { EndorsementSource } from './endorsement-source.js';
import { cekPath } from './key-service.js';
import { ThrottledError, UnknownToServiceError } from './request.js';
import { endorsementPath } from './snp/endorsement-request.js';

export interface MirrorOptions extends Omit<KdsClientOptions, 'cacheFolder'> {
  /** Everything that the mirror knows, in the form of a client's cache: filled by clients, by bundles, by itself. */
  readonly cacheFolder: string;
  /** Questions that it passes on to its service in a minute: 30. What it holds is served without limit. */
  readonly missesPerMinute?: number;
}

/** What nobody knows is not asked for again so soon. */
const unknownForMilliseconds = 10 * 60_000;
const unknownsKept = 4096;

/**
 * Serves a cache to a fleet, and fetches what is missing unless it is `offline`. It passes on only questions that a key
 * service answers, checks the answers before it keeps them, and never asks more often than it was told to: a fleet, or
 * a stranger, cannot use it to have its address locked out at AMD.
 */
export function createMirror(options: MirrorOptions): EndorsementSource {
  const { missesPerMinute = 30, now = Date.now } = options;
  const stored = createKdsClient({ ...options, offline: true });
  // Short pauses only: whoever asks is told when to come back, and waits where it costs nobody else anything.
  const asking = createKdsClient({ attempts: 2, longestPauseSeconds: 10, ...options });
  const allowance = minuteAllowance(missesPerMinute, now);
  const unknown = rememberedFor(unknownForMilliseconds, unknownsKept, now);
  const underWay = new Map<string, Promise<Uint8Array | undefined>>();

  async function find(
    name: string,
    ask: (client: typeof stored) => Promise<Uint8Array>,
  ): Promise<Uint8Array | undefined> {
    const held = await unless(NotCachedError, ask(stored));
    if (held !== undefined || options.offline === true || unknown.has(name)) return held;
    const shared = underWay.get(name) ?? fetchOne(name, ask).finally(() => underWay.delete(name));
    underWay.set(name, shared);
    return shared;
  }

  async function fetchOne(name: string, ask: (client: typeof stored) => Promise<Uint8Array>) {
    allowance.take();
    const found = await unless(UnknownToServiceError, ask(asking));
    if (found === undefined) unknown.add(name);
    return found;
  }

  return {
    findCek: async (chipId) => find(cekPath(chipId), (client) => client.cek(chipId)),
    findAskArk: async (generation) => find(`ask_ark ${generation}`, (client) => client.askArk(generation)),
    findEndorsement: async (request) =>
      // AMD gives VLEKs to their operator only, who is known by a client certificate that a mirror has not.
      request.what === 'vlek'
        ? undefined
        : find(endorsementPath(request), (client) => client.endorsement(request)),
  };
}

/** As many as were allowed, all at once or spread over the minute. */
function minuteAllowance(perMinute: number, now: () => number) {
  let left = perMinute;
  let at = now();
  return {
    take(): void {
      const later = now();
      left = Math.min(perMinute, left + (Math.max(0, later - at) / 60_000) * perMinute);
      at = later;
      if (left < 1) {
        const seconds = Math.ceil(((1 - left) * 60) / perMinute);
        throw new ThrottledError('mirror', 'too many questions that it has to pass on', seconds);
      }
      left -= 1;
    },
  };
}

/** Names, for a time, and no more than so many: the oldest is forgotten first. */
function rememberedFor(milliseconds: number, most: number, now: () => number) {
  const until = new Map<string, number>();
  return {
    has: (name: string) => (until.get(name) ?? Number.NEGATIVE_INFINITY) > now(),
    add(name: string): void {
      until.delete(name);
      until.set(name, now() + milliseconds);
      for (const oldest of until.keys()) {
        if (until.size <= most) break;
        until.delete(oldest);
      }
    },
  };
}

async function unless<T>(
  kind: abstract new (...parts: never[]) => Error,
  asked: Promise<T>,
): Promise<T | undefined> {
  try {
    return await asked;
  } catch (error) {
    if (error instanceof kind) return undefined;
    throw error;
  }
}
