import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import {
  type Generation,
  generations,
  isSignedBy,
  parseAmdCaCertificate,
  parseSevCertificate,
  toHex,
  UnavailableError,
} from '@vouchsafe/sev';
import { type CertificateCache, folderCache, memoryCache } from './cache.js';
import { addressOf, amdKeyService, askArkPaths, cekPath, type KeyServiceAddresses } from './key-service.js';
import { checkedAskArk, checkedCek, isSameCek, splitAskArk } from './received.js';
import { type Fetch, getBytes, type RequestOptions, UnknownToServiceError } from './request.js';
import { createRequestQueue, type RequestQueueOptions } from './request-queue.js';
import { type EndorsementClient, endorsementClient } from './snp/endorsement-client.js';

export interface KdsClientOptions {
  /** Base address of a service with AMD's URL shapes; without it, AMD's own two hosts. */
  readonly baseUrl?: string | KeyServiceAddresses;
  /**
   * Where answers are kept, in a folder of its own for each service; without it, in memory. A development authority
   * that is thrown away leaves answers behind: keep its cache in the same place and throw both away together.
   */
  readonly cacheFolder?: string;
  /** A promise: nothing is asked of the network, what is not cached is unavailable. */
  readonly offline?: boolean;
  readonly fetch?: Fetch;
  readonly sleep?: RequestQueueOptions['sleep'];
  readonly now?: RequestOptions['now'];
  /** Requests for one certificate, the first included: 4. */
  readonly attempts?: number;
  /** Longest Retry-After that is honoured: 60 seconds. */
  readonly longestPauseSeconds?: number;
  /** All pauses for one certificate together: 120 seconds. */
  readonly pauseBudgetSeconds?: number;
  /** Requests under way at the same time: 4. */
  readonly requestsAtOnce?: number;
  /** Requests that may wait for their turn: 256. One more is a QueueFullError. */
  readonly requestsWaiting?: number;
  /** Time for one request: 30 seconds. */
  readonly timeoutSeconds?: number;
}

/**
 * AMD's Key Distribution Service as a caller sees it: CEKs for SEV and SEV-ES, VCEKs, VLEK authorities and revocation
 * lists for SEV-SNP. What comes back has the form of what was asked for; whether to trust it is for a verifier to say.
 */
export interface KdsClient extends EndorsementClient {
  /**
   * The CEK of a chip, signed by its ASK: 0x824 bytes.
   *
   * Nothing in a CEK names its chip. A caller who has the CEK that the chip itself exports gives it as `exported`; an
   * answer for another chip is then refused, and not kept.
   * @throws InvalidArgumentError when `chipId` is not 64 bytes
   * @throws UnavailableError when the service cannot be asked, does not know the chip, or sends something else
   */
  cek(chipId: Uint8Array, options?: { readonly exported?: Uint8Array }): Promise<Uint8Array>;
  /** ASK‖ARK of a generation: 1664 bytes for Naples, 3200 for the others. @throws UnavailableError */
  askArk(generation: Generation): Promise<Uint8Array>;
  /**
   * The generation whose ASK signed this CEK, with its ASK‖ARK. A CEK does not name its generation, so each is tried.
   * @throws UnavailableError when no generation that the service knows fits
   */
  issuerOf(cek: Uint8Array): Promise<{ readonly generation: Generation; readonly askArk: Uint8Array }>;
}

export function createKdsClient(options: KdsClientOptions = {}): KdsClient {
  const { baseUrl = amdKeyService, offline = false } = options;
  const service = typeof baseUrl === 'string' ? { endorsements: baseUrl, authorities: baseUrl } : baseUrl;
  const request: RequestOptions = {
    fetch: options.fetch ?? fetch,
    queue: createRequestQueue({
      atOnce: options.requestsAtOnce ?? 4,
      waiting: options.requestsWaiting ?? 256,
      sleep: options.sleep ?? (async (milliseconds) => delay(milliseconds)),
    }),
    now: options.now ?? Date.now,
    attempts: options.attempts ?? 4,
    longestPauseSeconds: options.longestPauseSeconds ?? 60,
    pauseBudgetSeconds: options.pauseBudgetSeconds ?? 120,
    timeoutSeconds: options.timeoutSeconds ?? 30,
  };
  const endorsements = cacheOf(service.endorsements);
  const authorities = cacheOf(service.authorities);
  const underWay = new Map<string, Promise<Uint8Array>>();

  function cacheOf(base: string): CertificateCache {
    const name = addressOf(base, '').replace(/[^A-Za-z0-9.-]+/g, '_');
    return options.cacheFolder === undefined ? memoryCache() : folderCache(join(options.cacheFolder, name));
  }

  /** Callers that ask for the same address at the same time share one request. */
  function fetchOnce(address: string, check: (received: Uint8Array) => Uint8Array): Promise<Uint8Array> {
    const running = underWay.get(address);
    if (running !== undefined) return running;
    if (offline) return Promise.reject(new NotCachedError(address));
    const started = getBytes(address, request)
      .then(check)
      .finally(() => underWay.delete(address));
    underWay.set(address, started);
    return started;
  }

  async function cek(
    chipId: Uint8Array,
    { exported }: { readonly exported?: Uint8Array } = {},
  ): Promise<Uint8Array> {
    const path = cekPath(chipId);
    const name = `cek_${toHex(chipId)}.cert`;
    const fits = (bytes: Uint8Array) => exported === undefined || isSameCek(bytes, exported);
    const cached = await usable(endorsements, name, checkedCek);
    if (cached !== undefined && fits(cached)) return cached;
    const fetched = await fetchOnce(addressOf(service.endorsements, path), checkedCek);
    if (!fits(fetched)) {
      throw new UnavailableError(
        'key service',
        `the CEK sent for chip ${toHex(chipId).slice(0, 16)}… is another chip's`,
        {
          hint: 'the key in it is not the one that this chip exports: ask a service that you trust, or ask again',
        },
      );
    }
    await endorsements.put(name, fetched);
    return fetched.slice();
  }

  async function askArk(generation: Generation): Promise<Uint8Array> {
    const name = `ask_ark_${generation}.cert`;
    const check = (received: Uint8Array) => checkedAskArk(generation, received);
    const cached = await usable(authorities, name, check);
    if (cached !== undefined) return cached;
    const fetched = await firstKnown(askArkPaths(generation), (path) =>
      fetchOnce(addressOf(service.authorities, path), check),
    );
    await authorities.put(name, fetched);
    return fetched.slice();
  }

  async function issuerOf(cekBytes: Uint8Array) {
    const certificate = parseSevCertificate(cekBytes);
    const naples = certificate.signatures.some((slot) => slot.algorithm === 'RSA-SHA256');
    for (const generation of naples
      ? (['naples'] as const)
      : generations.filter((each) => each !== 'naples')) {
      const bundle = await unlessUnknown(askArk(generation));
      if (bundle === undefined) continue;
      if (await isSignedBy(certificate, parseAmdCaCertificate(splitAskArk(bundle).ask)))
        return { generation, askArk: bundle };
    }
    throw new UnavailableError('key service', 'no ASK that it serves signed this CEK', {
      hint: 'ask the service that endorsed the chip, or give ASK and ARK as files',
    });
  }

  const snp = endorsementClient({
    cache: endorsements,
    now: request.now,
    async get(path) {
      const address = addressOf(service.endorsements, path);
      if (offline) throw new NotCachedError(address);
      return getBytes(address, request);
    },
  });

  return { cek, askArk, issuerOf, ...snp };
}

/** A cached entry that still reads as what it should be. */
async function usable(
  cache: CertificateCache,
  name: string,
  check: (bytes: Uint8Array) => Uint8Array,
): Promise<Uint8Array | undefined> {
  const bytes = await cache.get(name);
  if (bytes === undefined) return undefined;
  try {
    return check(bytes);
  } catch (error) {
    if (error instanceof UnavailableError) return undefined;
    throw error;
  }
}

async function firstKnown<T>(paths: readonly string[], ask: (path: string) => Promise<T>): Promise<T> {
  const [first, ...others] = paths;
  try {
    return await ask(first!);
  } catch (error) {
    if (!(error instanceof UnknownToServiceError) || others.length === 0) throw error;
    return firstKnown(others, ask);
  }
}

/** Undefined where a service, or an offline cache, has no such certificate. */
async function unlessUnknown<T>(asked: Promise<T>): Promise<T | undefined> {
  try {
    return await asked;
  } catch (error) {
    if (error instanceof UnknownToServiceError || error instanceof NotCachedError) return undefined;
    throw error;
  }
}

/** The client promised to stay off the network, and has no copy. */
export class NotCachedError extends UnavailableError {
  constructor(address: string) {
    super('key service', `${address} is not cached, and this is offline`, {
      hint: 'run `vouchsafe kds fetch` once while online, or give the certificate as a file',
    });
  }
}
