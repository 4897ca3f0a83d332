import type { CreateTableBuilder, Kysely, Migration } from 'kysely';
import type { Engine } from './engines.js';

/** Every change to the schema there ever was, by name in order. What has been released is never edited, only added to. */
export function migrationsFor(engine: Engine): Record<string, Migration> {
  return { '0001-state': { up: (db) => createTables(db, engine) } };
}

async function createTables(db: Kysely<unknown>, engine: Engine): Promise<void> {
  const bytes = engine === 'sqlite' ? 'blob' : 'bytea';
  const table = (name: string) => new Columns(db.schema.createTable(name), bytes);

  await table('broker_state').text('name').text('value').key('name').create();
  await table('root_keys').text('id', 'master').bytes('wrapped').text('created_at').key('id').create();
  await table('replicas').text('id', 'seen_at').counter('sequence').bytes('hash', 'mac').key('id').create();

  await table('record_entries')
    .text('replica', 'reference', 'at', 'kind')
    .counter('sequence')
    .bytes('body', 'previous', 'hash')
    .optionalBytes('subject')
    .key('replica', 'sequence')
    .unique('reference')
    .create();
  await index(db, 'record_entries', 'subject');
  await index(db, 'record_entries', 'at');
  await table('record_checkpoints')
    .counter('number')
    .text('at', 'document')
    .bytes('signature')
    .key('number')
    .create();

  await table('resources')
    .text('id', 'state', 'created_at')
    .bytes('name', 'name_digest', 'mac')
    .counter('latest_version')
    .optionalText('policy_id')
    .key('id')
    .unique('name_digest')
    .create();
  await table('resource_versions')
    .text('resource_id', 'state', 'created_at')
    .counter('version', 'released')
    .optionalText('not_before', 'not_after')
    .optionalCounter('release_limit')
    .optionalBytes('wrapped_key', 'ciphertext')
    .bytes('mac')
    .key('resource_id', 'version')
    .refersTo('resources', ['resource_id'], ['id'])
    .create();
  await table('released')
    .text('resource_id', 'guest_key', 'session_id', 'released_at')
    .counter('version')
    .bytes('mac')
    .key('resource_id', 'version', 'guest_key', 'session_id')
    .refersTo('resource_versions', ['resource_id', 'version'], ['resource_id', 'version'])
    .create();
  await table('resource_machines')
    .text('resource_id', 'first_at')
    .bytes('machine')
    .key('resource_id', 'machine')
    .refersTo('resources', ['resource_id'], ['id'])
    .create();

  await table('policies')
    .text('id', 'kind', 'state')
    .bytes('name', 'name_digest', 'mac')
    .counter('latest_version')
    .key('id')
    .unique('name_digest')
    .create();
  await table('policy_versions')
    .text('policy_id', 'author', 'created_at')
    .counter('version')
    .bytes('content')
    .key('policy_id', 'version')
    .refersTo('policies', ['policy_id'], ['id'])
    .create();
  await table('reference_values')
    .text('issuer', 'name', 'not_before', 'not_after', 'created_at')
    .counter('version')
    .bytes('document', 'mac')
    .key('issuer', 'name', 'version')
    .create();
  await table('signing_keys')
    .text('id', 'algorithm', 'public_key', 'created_at', 'not_before')
    .bytes('private_key', 'mac')
    .optionalText('not_after', 'published_until')
    .key('id')
    .create();
  await table('admin_tokens')
    .text('id', 'role', 'created_at', 'expires_at')
    .bytes('token_digest', 'label', 'mac')
    .optionalText('revoked_at')
    .key('id')
    .unique('token_digest')
    .create();

  await table('challenge_sessions')
    .text('id', 'tee', 'protocol_version', 'nonce', 'state', 'created_at', 'expires_at')
    .optionalText('attested_at', 'guest_key', 'guest_key_thumbprint')
    .optionalBytes('evidence_digest', 'claims', 'token')
    .bytes('mac')
    .key('id')
    .create();
  await index(db, 'challenge_sessions', 'expires_at');
  await table('endorsements').text('path', 'fetched_at').bytes('content').key('path').create();
  await table('launch_sessions')
    .text('launch_id', 'state', 'expires_at')
    .optionalText('ended_at')
    .optionalBytes('content')
    .key('launch_id')
    .create();
  await index(db, 'launch_sessions', 'expires_at');
}

function index(db: Kysely<unknown>, table: string, column: string): Promise<void> {
  return db.schema.createIndex(`${table}_${column}`).on(table).column(column).execute();
}

type Builder = CreateTableBuilder<string, string>;

/** The few column types that both engines share. */
class Columns {
  readonly #builder: Builder;
  readonly #bytes: 'blob' | 'bytea';

  constructor(builder: Builder, bytes: 'blob' | 'bytea') {
    this.#builder = builder;
    this.#bytes = bytes;
  }

  text = (...names: string[]) => this.#add(names, 'text', true);
  optionalText = (...names: string[]) => this.#add(names, 'text', false);
  counter = (...names: string[]) => this.#add(names, 'bigint', true);
  optionalCounter = (...names: string[]) => this.#add(names, 'bigint', false);
  bytes = (...names: string[]) => this.#add(names, this.#bytes, true);
  optionalBytes = (...names: string[]) => this.#add(names, this.#bytes, false);

  key(...columns: string[]): Columns {
    return this.#with(this.#builder.addPrimaryKeyConstraint(`${this.#table}_key`, columns));
  }

  unique(...columns: string[]): Columns {
    return this.#with(this.#builder.addUniqueConstraint(`${this.#table}_${columns.join('_')}`, columns));
  }

  refersTo(table: string, columns: string[], theirs: string[]): Columns {
    const name = `${this.#table}_${table}`;
    return this.#with(this.#builder.addForeignKeyConstraint(name, columns, table, theirs));
  }

  create(): Promise<void> {
    return this.#builder.execute();
  }

  get #table(): string {
    return this.#builder.toOperationNode().table.table.identifier.name;
  }

  #add(names: string[], type: 'text' | 'bigint' | 'blob' | 'bytea', required: boolean): Columns {
    const add = (builder: Builder, name: string) =>
      type === 'blob'
        ? builder.addColumn(name, 'blob', (column) => (required ? column.notNull() : column))
        : builder.addColumn(name, type, (column) => (required ? column.notNull() : column));
    return this.#with(names.reduce(add, this.#builder));
  }

  #with(builder: Builder): Columns {
    return new Columns(builder, this.#bytes);
  }
}
