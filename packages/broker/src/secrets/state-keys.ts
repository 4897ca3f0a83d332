import { createHmac, createPrivateKey, hkdfSync, type KeyObject } from 'node:crypto';
import { concat, constantTimeEqual, openSecret, type RandomSource, Secret } from '@vouchsafe/sev';
import { refuseState } from '../state/checks.js';
import { seal, unseal } from './sealing.js';

/** Column values of a row, as far as its authentication code covers them. */
export type RowValues = Readonly<Record<string, string | number | Uint8Array | null>>;

/**
 * The keys of one database, all derived from its root key (32 bytes), which a master key wraps. Whatever they seal or
 * authenticate belongs to this database and to its place in it: moved elsewhere, it is refused.
 */
export class StateKeys {
  readonly databaseId: string;
  readonly #random: RandomSource;
  readonly #sealing: Secret;
  readonly #rows: Secret;
  readonly #names: Secret;
  /** Ed25519 (RFC 8032): signs checkpoints of the record. */
  readonly checkpointKey: KeyObject;

  constructor(databaseId: string, rootKey: Secret, random: RandomSource) {
    this.databaseId = databaseId;
    this.#random = random;
    const derive = (purpose: string) => {
      const info = `vouchsafe broker state 1, ${purpose}`;
      return Secret.take(new Uint8Array(hkdfSync('sha256', openSecret(rootKey), databaseId, info, 32)));
    };
    this.#sealing = derive('sealing');
    this.#rows = derive('rows');
    this.#names = derive('names');
    const seed = derive('checkpoints');
    this.checkpointKey = ed25519FromSeed(seed);
    seed.zero();
  }

  /** Encrypts bytes for one place: table, row and column, for example. */
  seal(place: readonly (string | number)[], plaintext: Uint8Array): Uint8Array {
    return seal(this.#sealing, this.#context(place), plaintext, this.#random);
  }

  /** @throws RefusedError (`state.row`) for what was not sealed for this place */
  open(place: readonly (string | number)[], sealed: Uint8Array): Secret {
    return this.tryOpen(place, sealed) ?? refuseRow(place.join(' '));
  }

  /** The same for those who tell of it in their own words. */
  tryOpen(place: readonly (string | number)[], sealed: Uint8Array): Secret | undefined {
    // SQLite gives back whatever somebody put into the column.
    if (!(sealed instanceof Uint8Array)) return undefined;
    return unseal(this.#sealing, this.#context(place), sealed);
  }

  /** Text that nobody needs to keep from memory: names, policies, claims. */
  sealText(place: readonly (string | number)[], text: string): Uint8Array {
    return this.seal(place, new TextEncoder().encode(text));
  }

  /** @throws RefusedError (`state.row`) */
  openText(place: readonly (string | number)[], sealed: Uint8Array): string {
    const secret = this.open(place, sealed);
    const text = new TextDecoder().decode(openSecret(secret));
    secret.zero();
    return text;
  }

  /** HMAC-SHA-256 (32 bytes) over a table's name and the named columns of a row, except `mac` itself. */
  mac(table: string, row: RowValues): Uint8Array {
    const columns = Object.keys(row)
      .filter((name) => name !== 'mac')
      .sort();
    const values = columns.map((name) => row[name]!);
    const header = columns.map((name, i) => [name, headerOf(values[i]!)]);
    const hmac = createHmac('sha256', openSecret(this.#rows)).update(JSON.stringify([table, header]));
    for (const value of values) if (value instanceof Uint8Array) hmac.update(value);
    return new Uint8Array(hmac.digest());
  }

  /** Adds the authentication code to a row that is about to be written. */
  withMac<Row extends RowValues>(table: string, row: Row): Row & { readonly mac: Uint8Array } {
    return { ...row, mac: this.mac(table, row) };
  }

  /**
   * Gives back the row that was read, if the broker wrote it as it is. Every column counts, so it must have been read
   * with all of them.
   * @param name of the row, for the error
   * @throws RefusedError (`state.row`)
   */
  requireMac<Row extends { readonly mac: Uint8Array }>(table: string, name: string, row: Row): Row {
    const expected = this.mac(table, row as unknown as RowValues);
    const isAuthentic = row.mac instanceof Uint8Array && constantTimeEqual(expected, row.mac);
    if (!isAuthentic) refuseRow(`${table} ${name}`);
    return row;
  }

  /** Digest (32 bytes) by which a name is found that is sealed itself; equal names of one kind have equal digests. */
  digestOf(kind: string, name: string): Uint8Array {
    return this.#hmac(this.#names, [kind, name]);
  }

  zero(): void {
    for (const key of [this.#sealing, this.#rows, this.#names]) key.zero();
  }

  #context(place: readonly (string | number)[]): Uint8Array {
    return new TextEncoder().encode(JSON.stringify([this.databaseId, ...place]));
  }

  #hmac(key: Secret, value: unknown): Uint8Array {
    return new Uint8Array(createHmac('sha256', openSecret(key)).update(JSON.stringify(value)).digest());
  }
}

/** Bytes follow the header, where their lengths stand. */
function headerOf(value: string | number | Uint8Array | null) {
  return value instanceof Uint8Array ? [value.length] : value;
}

function refuseRow(name: string): never {
  return refuseState('database', 'state.row', {
    expected: 'what the broker wrote',
    found: `${name} differs from it`,
  });
}

/** PKCS #8 of an Ed25519 key (RFC 8410 section 7) up to its 32-byte seed. */
const ed25519Prefix = Uint8Array.of(0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20);

function ed25519FromSeed(seed: Secret): KeyObject {
  const der = concat(ed25519Prefix, openSecret(seed));
  try {
    return createPrivateKey({ key: Buffer.from(der.buffer), format: 'der', type: 'pkcs8' });
  } finally {
    der.fill(0);
  }
}
