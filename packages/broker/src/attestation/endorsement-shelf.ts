import {
  type EndorsementClient,
  type EndorsementRequest,
  endorsementPath,
  vcekRequest,
} from '@vouchsafe/kds';
import {
  type EndorsementRoot,
  InvalidArgumentError,
  type OfferedRevocationList,
  type ProductLine,
  parseRevocationList,
  type TcbVersion,
  type VekKind,
  VouchsafeError,
} from '@vouchsafe/sev';

/** Keeps what the key service answered where every replica finds it. Public data, verified each time that it is used. */
export interface EndorsementRepository {
  get(path: string): Promise<Uint8Array | undefined>;
  put(path: string, bytes: Uint8Array, at: number): Promise<void>;
}

export interface EndorsementShelfOptions {
  /** Whose authorities and lists are kept ready. */
  readonly roots: readonly EndorsementRoot[];
  readonly repository: EndorsementRepository;
  /** The key service; without it, only what the repository holds. */
  readonly source?: Pick<EndorsementClient, 'endorsement'>;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** Told of what the key service did not give. */
  readonly onFailure?: (subject: string, error: VouchsafeError) => void;
}

/** Authorities' certificates and revocation lists for one kind of key of one product line. */
export interface Authorities {
  /** ASK or ASVK and ARK; none before the key service was reached for the first time. */
  readonly certificates: readonly Uint8Array[];
  readonly crls: readonly OfferedRevocationList[];
}

/**
 * The endorsements that verifying needs beside what a guest sends, in memory. Judging evidence never waits for the key
 * service: what is missing is asked for in the background, for the next attempt.
 */
export interface EndorsementShelf {
  authorities(kind: VekKind, line: ProductLine): Authorities;
  /** Changes whenever {@link EndorsementShelf.authorities} may give something else. */
  readonly edition: number;
  /**
   * The VCEK of a chip, if it is at hand; otherwise it is asked for in the background.
   * @returns undefined, too, for a chip id that is masked or does not fit its product line
   */
  vcek(chip: {
    readonly line: ProductLine;
    readonly chipId: Uint8Array;
    readonly tcb: TcbVersion;
  }): Promise<Uint8Array | undefined>;
  /** Brings certificates that are missing and the newest lists; what fails keeps what there was. */
  refresh(): Promise<void>;
  /** For each kind and product line, whether a list that is current is at hand. */
  freshness(): readonly { readonly subject: string; readonly fresh: boolean }[];
  /** Whether every product line has its authorities. */
  readonly ready: boolean;
  /** Whether the last {@link EndorsementShelf.refresh} got everything from the key service. */
  readonly complete: boolean;
  /** Resolves when nothing is being asked for. */
  settled(): Promise<void>;
  /** From now on answers of the key service are dropped; what is being asked for is not waited for. */
  close(): void;
}

const kinds: readonly VekKind[] = ['VCEK', 'VLEK'];
/** VCEKs under way at one time: more wait for another attempt of their guests. */
const greatestBacklog = 64;

export function createEndorsementShelf(options: EndorsementShelfOptions): EndorsementShelf {
  const { roots, repository, source, now, onFailure = () => undefined } = options;
  const shelf = new Map<string, Authorities>();
  const underWay = new Map<string, Promise<unknown>>();
  let edition = 0;
  let failures = 0;
  let closed = false;
  let refreshing: Promise<void> | undefined;
  let end: () => void = () => undefined;
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  const subjects = roots.flatMap(({ line }) => kinds.map((kind) => ({ kind, line })));
  const nameOf = (kind: VekKind, line: ProductLine) => `${line} ${kind}`;

  /** From the key service, which answers from its own cache unless the newest is wanted; else from the repository. */
  async function obtain(request: EndorsementRequest, refresh: boolean): Promise<Uint8Array | undefined> {
    const path = endorsementPath(request);
    const kept = await repository.get(path);
    if (source === undefined || (kept !== undefined && !refresh)) return kept;
    try {
      const bytes = await source.endorsement(request, { refresh });
      if (closed) return undefined;
      if (kept === undefined || !sameBytes(kept, bytes)) await repository.put(path, bytes, now());
      return bytes;
    } catch (error) {
      if (!(error instanceof VouchsafeError)) throw error;
      failures += 1;
      onFailure(path, error);
      return kept;
    }
  }

  async function refreshOne(kind: VekKind, line: ProductLine): Promise<void> {
    const name = nameOf(kind, line);
    const before = shelf.get(name);
    const chain = await obtain({ what: 'chain', kind, line }, false);
    const list = await obtain({ what: 'crl', kind, line }, true);
    if (closed) return;
    const after = {
      certificates: chain === undefined ? [] : [chain],
      crls: list === undefined ? [] : [{ ...parseRevocationList(list), covers: kind }],
    };
    const same = before !== undefined && sameFiles(before, after);
    shelf.set(name, after);
    if (!same) edition += 1;
  }

  async function refreshAll(): Promise<void> {
    failures = 0;
    for (const { kind, line } of subjects) {
      if (closed) return;
      try {
        await refreshOne(kind, line);
      } catch (error) {
        if (!(error instanceof VouchsafeError)) throw error;
        onFailure(nameOf(kind, line), error);
      }
    }
  }

  function inBackground(name: string, work: () => Promise<unknown>): void {
    if (underWay.has(name) || underWay.size >= greatestBacklog) return;
    const running = work()
      .catch((error: unknown) => {
        if (error instanceof VouchsafeError) onFailure(name, error);
      })
      .finally(() => underWay.delete(name));
    underWay.set(name, running);
  }

  return {
    authorities: (kind, line) => shelf.get(nameOf(kind, line)) ?? { certificates: [], crls: [] },
    get edition() {
      return edition;
    },
    async vcek(chip) {
      const request = requestFor(chip);
      if (request === undefined) return undefined;
      const path = endorsementPath(request);
      const kept = await repository.get(path);
      if (kept === undefined && source !== undefined) inBackground(path, () => obtain(request, false));
      return kept;
    },
    get complete() {
      return failures === 0;
    },
    refresh() {
      refreshing ??= refreshAll().finally(() => {
        refreshing = undefined;
      });
      return Promise.race([refreshing, ended]);
    },
    freshness: () =>
      subjects.map(({ kind, line }) => ({
        subject: nameOf(kind, line),
        fresh: (shelf.get(nameOf(kind, line))?.crls ?? []).some(
          ({ nextUpdate }) => nextUpdate !== undefined && nextUpdate > now(),
        ),
      })),
    get ready() {
      return roots.every(({ line }) => (shelf.get(nameOf('VCEK', line))?.certificates ?? []).length > 0);
    },
    async settled() {
      await Promise.all(underWay.values());
    },
    close() {
      closed = true;
      end();
    },
  };
}

function requestFor(chip: Parameters<EndorsementShelf['vcek']>[0]) {
  try {
    return vcekRequest(chip);
  } catch (error) {
    if (error instanceof InvalidArgumentError) return undefined;
    throw error;
  }
}

function sameFiles(a: Authorities, b: Authorities): boolean {
  const files = ({ certificates, crls }: Authorities) => [...certificates, ...crls.map(({ raw }) => raw)];
  const [left, right] = [files(a), files(b)];
  return left.length === right.length && left.every((bytes, i) => sameBytes(bytes, right[i]!));
}

const sameBytes = (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b) === 0;
