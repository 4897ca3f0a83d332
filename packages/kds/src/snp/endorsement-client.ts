import { type ProductLine, type TcbVersion, UnavailableError, type VekKind } from '@vouchsafe/sev';
import type { CertificateCache } from '../cache.js';
import {
  checkEndorsement,
  isCurrent,
  type Lifetime,
  readChain,
  requireCurrent,
} from './checked-endorsement.js';
import { type EndorsementRequest, endorsementPath, vcekRequest } from './endorsement-request.js';

export interface FetchOptions {
  /** Asks the service although the cache holds it: for a revocation list, which may have grown since. */
  readonly refresh?: boolean;
}

/** What a client of the key distribution service does for SEV-SNP. */
export interface EndorsementClient {
  /**
   * The certificate of a chip's VCEK for a TCB version, in DER. Hardware id, product line and every component of the TCB
   * version are the ones that were asked for.
   * @param chip `chipId`: CHIP_ID of a report, 64 bytes; for Turin its first 8 bytes do
   * @throws InvalidArgumentError when the chip id is masked or of another length
   * @throws UnavailableError when the service cannot be asked, does not know the chip, or sends something else
   */
  vcek(chip: {
    readonly line: ProductLine;
    readonly chipId: Uint8Array;
    readonly tcb: TcbVersion;
  }): Promise<Uint8Array>;
  /** The authorities above a kind of VEK, each in DER: ASK or ASVK, then the ARK. @throws UnavailableError */
  certificateChain(kind: VekKind, line: ProductLine): Promise<readonly [signer: Uint8Array, ark: Uint8Array]>;
  /**
   * The ARK's revocation list for a kind of VEK, in DER, current at this moment. Whether the ARK signed it is for a
   * verifier to say.
   * @throws UnavailableError
   */
  revocationList(kind: VekKind, line: ProductLine, options?: FetchOptions): Promise<Uint8Array>;
  /**
   * Any of these as the service sends it: certificates and lists in DER, chains in PEM.
   * @throws InvalidArgumentError, UnavailableError
   */
  endorsement(request: EndorsementRequest, options?: FetchOptions): Promise<Uint8Array>;
  /**
   * Puts into the cache what came by another way than from the service, such as a bundle, if it is what the request names.
   * @throws UnavailableError when it is not, and for a revocation list that is not current
   */
  keepEndorsement(request: EndorsementRequest, bytes: Uint8Array): Promise<void>;
}

export interface EndorsementClientParts {
  readonly cache: CertificateCache;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** Asks the service. @throws UnavailableError */
  readonly get: (path: string) => Promise<Uint8Array>;
}

/**
 * The cache keeps certificates for good, and a revocation list until its next update: a key that was revoked since must
 * not pass because somebody asked before. Callers that ask for the same at the same time share one request.
 */
export function endorsementClient({ cache, now, get }: EndorsementClientParts): EndorsementClient {
  const underWay = new Map<string, Promise<Uint8Array>>();

  /** What is kept, if it still reads as what it should be and may still be used. */
  async function kept(request: EndorsementRequest) {
    const bytes = await cache.get(cacheName(request));
    if (bytes === undefined) return undefined;
    const lifetime = await unlessUnfit(checkEndorsement(request, bytes));
    return lifetime !== undefined && isCurrent(lifetime, now()) ? { bytes, lifetime } : undefined;
  }

  async function fetched(request: EndorsementRequest): Promise<Uint8Array> {
    const bytes = await get(endorsementPath(request));
    const lifetime = await checkEndorsement(request, bytes);
    requireCurrent(request, lifetime, now());
    return keep(request, bytes, lifetime);
  }

  /** A current list is never replaced by an older one, so that nobody can make a client forget a revocation. */
  async function keep(request: EndorsementRequest, bytes: Uint8Array, lifetime: Lifetime) {
    const before = await kept(request);
    if (before !== undefined && before.lifetime.from > lifetime.from) return before.bytes;
    if (isCurrent(lifetime, now())) await cache.put(cacheName(request), bytes);
    return bytes;
  }

  async function endorsement(request: EndorsementRequest, { refresh = false }: FetchOptions = {}) {
    const name = `${endorsementPath(request)}${refresh ? ' again' : ''}`;
    const work = async () => (refresh ? undefined : (await kept(request))?.bytes) ?? (await fetched(request));
    const shared = underWay.get(name) ?? work().finally(() => underWay.delete(name));
    underWay.set(name, shared);
    return (await shared).slice();
  }

  return {
    endorsement,
    vcek: async (chip) => endorsement(vcekRequest(chip)),
    async certificateChain(kind, line) {
      const request = { what: 'chain', kind, line } as const;
      const [signer, ark] = await readChain(request, await endorsement(request));
      return [signer.raw, ark.raw];
    },
    revocationList: (kind, line, options) => endorsement({ what: 'crl', kind, line }, options),
    async keepEndorsement(request, bytes) {
      const lifetime = await checkEndorsement(request, bytes);
      requireCurrent(request, lifetime, now());
      await keep(request, bytes, lifetime);
    },
  };
}

/** `vcek_v1_Milan_cert_chain.pem`: the path, with the ending of what is in it. */
function cacheName(request: EndorsementRequest): string {
  const ending = request.what === 'chain' ? 'pem' : request.what === 'crl' ? 'crl' : 'der';
  return `${endorsementPath(request)
    .slice(1)
    .replace(/[^A-Za-z0-9]+/g, '_')}.${ending}`;
}

async function unlessUnfit<T>(checked: Promise<T>): Promise<T | undefined> {
  try {
    return await checked;
  } catch (error) {
    if (error instanceof UnavailableError) return undefined;
    throw error;
  }
}
