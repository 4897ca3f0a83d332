import { openSecret, type Secret } from '@vouchsafe/sev';
import type { StateKeys } from '../secrets/state-keys.js';
import { type Database, inTransaction, isoTime, type Transaction } from '../state/database.js';
import type { Tables } from '../state/tables.js';
import type {
  KeyWrapping,
  PublicSigningKey,
  SigningKeyRepository,
  StoredSigningKey,
} from './signing-keys.js';

const tableName = 'signing_keys';

/** Token signing keys in the broker's database. @param onChange part of the transaction that adds a key, for the record */
export function databaseSigningKeys(
  db: Database,
  keys: StateKeys,
  onChange: (tx: Transaction, key: StoredSigningKey, by: string) => void,
): SigningKeyRepository {
  return {
    async list() {
      const rows = await db.query.selectFrom(tableName).selectAll().execute();
      return rows
        .map((row) => stored(keys.requireMac(tableName, row.id, row)))
        .sort((a, b) => b.createdAt - a.createdAt);
    },
    async succeed(key, previousVerifiesUntil, by) {
      await inTransaction(db, async (tx) => {
        const rows = await tx.query
          .selectFrom(tableName)
          .selectAll()
          .where('not_after', 'is', null)
          .execute();
        for (const found of rows) {
          const { mac: _, ...row } = keys.requireMac(tableName, found.id, found);
          const ended = keys.withMac(tableName, {
            ...row,
            not_after: isoTime(key.createdAt),
            published_until: isoTime(previousVerifiesUntil),
          });
          await tx.query.updateTable(tableName).set(ended).where('id', '=', row.id).execute();
        }
        const { kid, alg } = key.publicKey;
        const at = isoTime(key.createdAt);
        const added = keys.withMac(tableName, {
          id: kid,
          algorithm: alg,
          public_key: JSON.stringify(key.publicKey),
          private_key: key.wrappedPrivateKey,
          created_at: at,
          not_before: at,
          not_after: null,
          published_until: null,
        });
        await tx.query.insertInto(tableName).values(added).execute();
        onChange(tx, key, by);
      });
    },
  };
}

function stored(row: Tables['signing_keys']): StoredSigningKey {
  return {
    publicKey: JSON.parse(row.public_key) as PublicSigningKey,
    wrappedPrivateKey: row.private_key,
    createdAt: Date.parse(row.created_at),
    verifiesUntil: row.published_until === null ? undefined : Date.parse(row.published_until),
  };
}

/** Seals private keys under the keys of the database. */
export function signingKeyWrapping(keys: StateKeys): KeyWrapping {
  const place = (context: string) => [tableName, context];
  return {
    wrap: async (plaintext: Secret, context) => keys.seal(place(context), openSecret(plaintext)),
    unwrap: async (wrapped, context) => keys.open(place(context), wrapped),
  };
}
