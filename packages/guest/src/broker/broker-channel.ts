import { largestRcarAnswer, type RcarErrorVariant, rcarError, rcarErrorVariant } from '@vouchsafe/protocol';
import { InvalidArgumentError, MalformedError, UnavailableError } from '@vouchsafe/sev';
import { type BrokerAddress, parseBrokerAddress } from './broker-address.js';
import { type BrokerAnswer, type BrokerRequest, exchange } from './exchange.js';
import { saidBy } from './refusals.js';
import { type RetryRules, sendRepeatedly } from './retrying.js';
import { requireServerTrust, type ServerTrust } from './server-trust.js';

export interface BrokerChannelOptions {
  /** `https://HOST[:PORT][/PREFIX]`, or `http://` on this machine. */
  readonly address: string;
  readonly trust?: ServerTrust;
  /** Tries of each request: 5. */
  readonly attempts?: number;
  /** Time for each try, in milliseconds: 30 seconds. */
  readonly timeout?: number;
  /** Waits so many milliseconds between tries. */
  readonly pause: (milliseconds: number) => Promise<void>;
}

/** What a broker says went wrong. */
export interface BrokerError {
  readonly variant: RcarErrorVariant | undefined;
  /** For people; bounded and harmless to a terminal. */
  readonly detail: string;
}

/** The way to one broker: its address, by what its server is known, and how patient this guest is. */
export class BrokerChannel {
  readonly #address: BrokerAddress;
  readonly #trust: ServerTrust;
  readonly #rules: RetryRules;
  readonly #timeout: number;

  /** @throws InvalidArgumentError */
  constructor({ address, trust = {}, attempts = 5, timeout = 30_000, pause }: BrokerChannelOptions) {
    this.#address = parseBrokerAddress(address);
    requireServerTrust(trust);
    if (!this.#address.secure && Object.values(trust).some((pin: unknown) => pin !== undefined))
      throw new InvalidArgumentError('server trust', 'plain HTTP has no certificate to know the server by');
    this.#trust = trust;
    this.#rules = { attempts, pause };
    this.#timeout = timeout;
  }

  /** @throws UnavailableError when nothing answers, or with a redirection: none is followed */
  async send(request: BrokerRequest): Promise<BrokerAnswer> {
    const limits = { timeout: this.#timeout, largestAnswer: largestRcarAnswer };
    const answer = await sendRepeatedly(
      () => exchange(this.#address, this.#trust, request, limits),
      this.#rules,
    );
    if (answer.status >= 300 && answer.status < 400) {
      throw new UnavailableError(
        'key broker',
        `${request.path}: it sends elsewhere (status ${answer.status})`,
        {
          hint: 'name the broker’s own address: redirections are not followed',
        },
      );
    }
    return answer;
  }

  /** Reads the body of an answer that is not 200; whatever else it may be is an error without a variant. */
  errorIn(status: number, text: string): BrokerError {
    try {
      const error = rcarError.parseText(text);
      return { variant: rcarErrorVariant(error), detail: saidBy(error.detail) };
    } catch (error) {
      if (error instanceof MalformedError) return { variant: undefined, detail: `status ${status}` };
      throw error;
    }
  }
}
