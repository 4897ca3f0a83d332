import {
  describeStatus,
  GuestMessageTagError,
  type GuestMessageType,
  guestMessageTypes,
  InvalidArgumentError,
  MalformedError,
  openGuestMessage,
  responseTypeOf,
  type Secret,
  sealGuestMessage,
  snpGuestRequestErrors,
  VouchsafeError,
} from '@vouchsafe/sev';

/** What the host gives back for one guest request. All of it comes from the host, and may be anything. */
export interface GuestRequestOutcome {
  /** Status of the firmware, as the host reports it. */
  readonly firmwareError: number;
  /** `snpGuestRequestErrors`; 0 for none. */
  readonly vmmError: number;
  /** 4096 bytes, copied once. */
  readonly response: Uint8Array;
  /** What the host put into the pages for its certificate table, where there were any. */
  readonly certificates?: Uint8Array;
}

/** The way of a guest message to the firmware and back: through the host, who sees ciphertext. */
export interface GuestRequestTransport {
  /**
   * @param request 4096 bytes
   * @param withCertificates whether the host is to put its certificate table beside the response
   */
  exchange(request: Uint8Array, withCertificates: boolean): Promise<GuestRequestOutcome>;
}

/** Why a channel can no longer be used, or never gave an answer. */
export type ChannelFailure =
  /** The host said that it is busy, for as long as we asked. */
  | 'host-busy'
  /** The host reported an error of its own. */
  | 'host-error'
  /** The host reported that the firmware refused the message. */
  | 'firmware-error'
  /** The response is not that of this request: replayed, withheld, of another key or another kind. */
  | 'wrong-response'
  /** The response's tag does not fit: it was altered. */
  | 'altered-response'
  /** There are no sequence numbers left. */
  | 'counter-exhausted'
  /** The key was wiped before, for one of these reasons or by its owner. */
  | 'key-wiped';

/**
 * The channel to the firmware failed. Whatever the reason, the guest cannot know whether the firmware took the message;
 * a second message under the same sequence number would reveal both, so the key is gone.
 */
export class GuestChannelError extends VouchsafeError {
  readonly code = 'guest-channel';
  readonly failure: ChannelFailure;

  constructor(failure: ChannelFailure, message: string, cause?: unknown) {
    const hint =
      failure === 'key-wiped'
        ? 'only a new launch of the guest has new keys; look for the first failure'
        : 'the key of this privilege level was wiped; only a new launch of the guest has new keys';
    super(`guest messages: ${message}`, { hint, cause });
    this.failure = failure;
  }
}

export interface GuestChannelOptions {
  readonly transport: GuestRequestTransport;
  /** The VMPCK, 32 bytes. The channel takes it over and zeroes it. */
  readonly key: Secret;
  /** Which VMPCK it is, 0 to 3. */
  readonly vmpck: number;
  /** Number of the last message under this key, from the secrets page; 0 after launch. */
  readonly sequence?: bigint;
  /** Waits before a message is sent again to a host that is busy. */
  readonly wait?: (milliseconds: number) => Promise<void>;
}

export interface GuestMessageRequest {
  readonly type: GuestMessageType;
  /** 1 when absent. */
  readonly version?: number;
  readonly payload: Uint8Array;
}

/** Guest messages under one VMPCK, one at a time. */
export interface GuestChannel {
  /** Which VMPCK it uses; requests may name this privilege level and lower ones (higher numbers). */
  readonly vmpck: number;
  /** The payload of the response. @throws GuestChannelError */
  request(message: GuestMessageRequest): Promise<Uint8Array>;
  /** The same, with what the host gives as its certificate table; absent when it gave none. @throws GuestChannelError */
  requestWithCertificates(
    message: GuestMessageRequest,
  ): Promise<{ readonly payload: Uint8Array; readonly certificates?: Uint8Array }>;
  /** Wipes the key. May be called more than once. */
  wipe(): void;
}

/** As the sev-guest driver of linux has it: the counter's low half may not wrap. */
const lastSequence = 0xffff_fffen;
const retryDelayMs = 2000;
const busyAnswersLimit = 30;

/**
 * Opens a channel. It behaves as the sev-guest driver of linux: while the host is busy the identical message is sent
 * again; after any other failure, and any response that is not the one expected, the key is wiped.
 * @throws InvalidArgumentError for another VMPCK than 0 to 3, and for a sequence number that no response can have had
 */
export function openGuestChannel(options: GuestChannelOptions): GuestChannel {
  const { transport, key, vmpck, sequence: start = 0n, wait = delay } = options;
  if (![0, 1, 2, 3].includes(vmpck)) throw new InvalidArgumentError('vmpck', 'expected 0, 1, 2 or 3');
  if (start < 0n || start % 2n !== 0n)
    throw new InvalidArgumentError('sequence', 'expected the even number of a response, or 0');
  let last = start;
  let queue: Promise<unknown> = Promise.resolve();

  function fail(failure: ChannelFailure, message: string, cause?: unknown): never {
    key.zero();
    throw new GuestChannelError(failure, message, cause);
  }

  /** Sends one message until the host has taken it. */
  async function deliver(sealed: Uint8Array, withCertificates: boolean): Promise<GuestRequestOutcome> {
    let asking = withCertificates;
    for (let busy = 0; ; ) {
      const outcome = await transport.exchange(sealed, asking);
      if (outcome.vmmError === snpGuestRequestErrors.BUSY) {
        busy += 1;
        if (busy > busyAnswersLimit) fail('host-busy', 'the host has been busy for too long');
        await wait(retryDelayMs);
      } else if (asking && outcome.vmmError === snpGuestRequestErrors.CERTIFICATE_BUFFER) {
        // The firmware was not called. The message has to reach it, and no other may take its number.
        asking = false;
      } else {
        return outcome;
      }
    }
  }

  async function exchange(message: GuestMessageRequest, withCertificates: boolean) {
    if (key.isZeroed) throw new GuestChannelError('key-wiped', 'the key was wiped');
    const { type, version = 1, payload } = message;
    const expected = responseTypeOf(type);
    if (expected === undefined)
      throw new InvalidArgumentError('type', `${type} (${guestMessageTypes[type]}) is not a request`);
    if (last + 2n > lastSequence) fail('counter-exhausted', 'there are no sequence numbers left');
    const sealed = await sealGuestMessage({ key, vmpck, sequence: last + 1n, type, version, payload });

    const outcome = await deliver(sealed, withCertificates).catch((error: unknown) => {
      key.zero();
      throw error;
    });
    const { vmmError, firmwareError, response, certificates } = outcome;
    if (vmmError !== 0) fail('host-error', `the host reports error ${vmmError}`);
    if (firmwareError !== 0)
      fail('firmware-error', `the firmware refused the message: ${describeStatus(firmwareError).text}`);
    const opened = await openGuestMessage({
      key,
      vmpck,
      sequence: last + 2n,
      type: expected,
      version,
      bytes: response,
    }).catch((error: unknown) => {
      if (error instanceof GuestMessageTagError)
        fail('altered-response', 'the response was altered on its way', error);
      if (error instanceof MalformedError)
        fail('wrong-response', `the response is not that of this request: ${error.message}`, error);
      throw error;
    });
    last += 2n;
    return { payload: opened.payload, ...(certificates === undefined ? {} : { certificates }) };
  }

  function inTurn(message: GuestMessageRequest, withCertificates: boolean) {
    const own = queue.then(() => exchange(message, withCertificates));
    queue = own.catch(() => undefined);
    return own;
  }

  return {
    vmpck,
    request: async (message) => (await inTurn(message, false)).payload,
    requestWithCertificates: (message) => inTurn(message, true),
    wipe: () => key.zero(),
  };
}

function delay(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
