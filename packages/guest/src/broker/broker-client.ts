import {
  flattenedJwe,
  generateTeeKey,
  openFlattenedJwe,
  parseResourcePath,
  type ResourcePath,
  rcarResourcePath,
  resourcePathText,
  type TeeKeyKind,
  type TeeKeyPair,
} from '@vouchsafe/protocol';
import { InvalidArgumentError, type Secret, UnavailableError } from '@vouchsafe/sev';
import { attest, type BrokerSession } from './attestation.js';
import { BrokerChannel, type BrokerChannelOptions } from './broker-channel.js';
import type { ReportSource } from './evidence.js';
import { ReleaseRefusedError, ResourceAbsentError } from './refusals.js';

export interface KeyBrokerOptions extends BrokerChannelOptions {
  /** What vouches for this guest. */
  readonly device: ReportSource;
  /** Kind of the guest's key: an EC key on P-256. */
  readonly keyKind?: TeeKeyKind;
  /** The init-data (TOML) that the guest was launched with and HOST_DATA binds. */
  readonly initData?: string;
  /** Thumbprints (RFC 7638, SHA-256, base64url) of the keys that the broker's tokens may be signed with. */
  readonly tokenKeys?: readonly string[];
  /** Milliseconds; only differences count. */
  readonly now: () => number;
}

/** A key broker as a guest meets it. */
export interface KeyBrokerClient {
  /**
   * Fetches a secret, after attesting if need be; a copy for the caller to zero. The answer is decrypted here, so that
   * nobody on the way reads it; that it comes from the right broker is what the server's TLS certificate proves.
   * @throws AttestationRefusedError, ReleaseRefusedError, ResourceAbsentError for what the broker says
   * @throws UnavailableError when it cannot be asked, MalformedError when its answer cannot be read
   */
  getResource(path: ResourcePath): Promise<Secret>;
  /**
   * An attestation token that is good for a while, for other services. It is a bearer's: do not print it.
   * @throws as {@link KeyBrokerClient.getResource}
   */
  token(): Promise<string>;
  /**
   * A token with the key that it is bound to, for services that encrypt to this guest or have it prove itself. The key is
   * the client's own: it is not for the caller to zero.
   * @throws as {@link KeyBrokerClient.getResource}
   */
  passport(): Promise<{ readonly token: string; readonly key: TeeKeyPair }>;
  /** Zeroes the guest's key. Whatever is asked afterwards throws InvalidArgumentError. */
  close(): Promise<void>;
}

/** Attests anew this much before a session's end, in milliseconds, or at half its life. */
const margin = 30_000;

/**
 * A client of the key broker at `address`. Nothing is sent before the first call. The guest's key is made once: a broker
 * that counts releases knows the guest by it, so that an answer that was lost can be fetched again.
 * @throws InvalidArgumentError for an address or pins that cannot be meant
 */
export function connectKeyBroker(options: KeyBrokerOptions): KeyBrokerClient {
  const channel = new BrokerChannel(options);
  const { keyKind, now } = options;
  let key: Promise<TeeKeyPair> | undefined;
  let session: Promise<BrokerSession> | undefined;
  let isClosed = false;

  /** The session that follows one that is over: one attestation, however many ask for secrets. */
  function sessionAfter(over: Promise<BrokerSession> | undefined): Promise<BrokerSession> {
    if (session !== undefined && session !== over) return session;
    key ??= generateTeeKey(keyKind);
    const started = key.then((pair) => attest(channel, pair, options));
    session = started;
    started.catch(() => {
      if (session === started) session = undefined;
    });
    return started;
  }

  async function currentSession(): Promise<HeldSession> {
    if (isClosed) throw new InvalidArgumentError('key broker client', 'it was closed');
    const held = sessionAfter(undefined);
    const { begun, lifetime } = await held;
    const left = begun + lifetime - now();
    const isFresh = left > Math.min(margin, lifetime / 2) && left <= lifetime;
    return hold(isFresh ? held : sessionAfter(held));
  }

  async function getResource(path: ResourcePath): Promise<Secret> {
    const name = resourcePathText(path);
    parseResourcePath(name);
    for (let used = await currentSession(), again = false; ; again = true) {
      const { cookie, key: pair } = used.session;
      const { status, text } = await channel.send({
        method: 'GET',
        path: rcarResourcePath(path),
        headers: { cookie },
      });
      if (status === 200) return openFlattenedJwe(flattenedJwe.parseText(text), pair);
      const { variant, detail } = channel.errorIn(status, text);
      if (status === 404) throw new ResourceAbsentError(name);
      if (status === 403 || variant === 'PolicyDeny') throw new ReleaseRefusedError(name, detail);
      // With Trustee, 401 says of an absent secret and of a session that has ended alike that it is so.
      if (status === 401 && variant === 'PluginInternalError') throw new ResourceAbsentError(name);
      if (status !== 401 || again)
        throw new UnavailableError('key broker', `${name}: status ${status}: ${detail}`);
      used = await hold(sessionAfter(used.promise));
    }
  }

  async function passport() {
    const { token, key: pair } = (await currentSession()).session;
    return { token, key: pair };
  }

  return {
    getResource,
    passport,
    token: async () => (await passport()).token,
    async close() {
      isClosed = true;
      const made = await key?.catch(() => undefined);
      made?.privateKey.zero();
    },
  };
}

/** A session with the promise that it is known by while others ask for it. */
interface HeldSession {
  readonly promise: Promise<BrokerSession>;
  readonly session: BrokerSession;
}

async function hold(promise: Promise<BrokerSession>): Promise<HeldSession> {
  return { promise, session: await promise };
}
