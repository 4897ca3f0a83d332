import { InvalidArgumentError } from './errors.js';

const inspect = Symbol.for('nodejs.util.inspect.custom');

/**
 * A key or a secret. Printing, serialising or inspecting it shows its length and nothing else; {@link Secret.zero}
 * overwrites it, after which it cannot be opened again. Only {@link openSecret} reveals the bytes, so a search for that
 * name finds every place that can.
 *
 * JavaScript cannot promise that no copy of the bytes was left elsewhere in memory; it promises that this one is gone.
 */
export class Secret {
  #bytes: Uint8Array | undefined;
  readonly length: number;

  private constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.length = bytes.length;
    Object.freeze(this);
  }

  /** Takes the bytes over: they are moved into the secret, and the given array is zeroed. */
  static take(bytes: Uint8Array): Secret {
    const secret = new Secret(new Uint8Array(bytes));
    bytes.fill(0);
    return secret;
  }

  /** Copies the bytes; the caller remains answerable for the given array. */
  static copyOf(bytes: Uint8Array): Secret {
    return new Secret(new Uint8Array(bytes));
  }

  get isZeroed(): boolean {
    return this.#bytes === undefined;
  }

  /** Overwrites the bytes. May be called more than once. */
  zero(): void {
    this.#bytes?.fill(0);
    this.#bytes = undefined;
  }

  toString(): string {
    return this.isZeroed ? '[secret, zeroed]' : `[secret of ${this.length} bytes]`;
  }

  toJSON(): string {
    return this.toString();
  }

  [inspect](): string {
    return this.toString();
  }

  /** @internal Reached through {@link openSecret}. */
  static reveal(secret: Secret): Uint8Array {
    const bytes = secret.#bytes;
    if (bytes === undefined)
      throw new InvalidArgumentError('secret', 'it has been zeroed and cannot be used again');
    return bytes;
  }
}

/**
 * The bytes of a secret, not a copy: do not keep, print or change them.
 * @throws InvalidArgumentError when the secret has been zeroed
 */
export function openSecret(secret: Secret): Uint8Array {
  return Secret.reveal(secret);
}
