import { describe, expect, it } from 'vitest';
import { copyOf, type TableName } from '../../state/testing/dump.js';
import { onEveryEngine } from '../../state/testing/engines.js';
import {
  administrator,
  base64,
  makeBroker,
  permitAll,
  publish,
  storeSecret,
  type TestBroker,
  tokenFor,
} from '../../testing/broker.js';

const path = 'repo/type/tag';
const secret = `/v1/secrets/${path}`;
const otherPolicy = { policy: base64(`${permitAll}// newer\n`) };

interface Rollback {
  readonly what: string;
  /** Which rows are put back as they were. */
  readonly tables: readonly TableName[];
  before?(world: TestBroker): Promise<unknown>;
  /** What somebody wants to undo. */
  change(world: TestBroker): Promise<{ readonly status: number }>;
  readonly found: RegExp;
}

const disable = ({ admin }: TestBroker, more: object = {}) =>
  admin.patch(secret, { state: 'disabled', ...more });

const rollbacks: readonly Rollback[] = [
  {
    what: 'a secret that was disabled',
    tables: ['resources', 'resource_versions'],
    change: (world) => disable(world),
    found: /^resource [0-9a-f]{32}: resource: enabled, by the record disabled$/,
  },
  {
    what: 'one version that was disabled',
    tables: ['resource_versions'],
    change: (world) => disable(world, { version: 1 }),
    found: /^resource [0-9a-f]{32}: version 1: enabled, by the record disabled$/,
  },
  {
    what: 'a secret that was enabled, disabled again',
    tables: ['resources', 'resource_versions'],
    before: (world) => disable(world),
    change: ({ admin }) => admin.patch(secret, { state: 'enabled' }),
    found: /^resource [0-9a-f]{32}: resource: disabled, by the record enabled$/,
  },
  {
    what: 'a secret’s own policy',
    tables: ['resources', 'resource_versions'],
    before: ({ admin }) => admin.put('/v1/policies/strict', otherPolicy),
    change: ({ admin }) => admin.patch(secret, { policy: 'strict' }),
    found: /^resource [0-9a-f]{32}: policy: null, by the record [0-9a-f]{32}$/,
  },
  {
    what: 'a policy that was replaced',
    tables: ['policies', 'policy_versions'],
    change: ({ admin }) => admin.put('/v1/policies/default', otherPolicy),
    found: /^policy default: version 2, by the record version 3$/,
  },
  {
    what: 'a policy that was removed',
    tables: ['policies', 'policy_versions'],
    before: ({ admin }) => admin.put('/v1/policies/spare', otherPolicy),
    change: ({ admin }) => admin.delete('/v1/policies/spare'),
    found: /^policy spare: version 1, by the record version 1, removed$/,
  },
  {
    what: 'a policy that was added',
    tables: ['policies', 'policy_versions'],
    change: ({ admin }) => admin.put('/v1/policies/spare', otherPolicy),
    found: /^policy spare: not there, by the record version 1$/,
  },
  {
    what: 'an issuer that was removed',
    tables: ['policies', 'policy_versions'],
    change: ({ admin }) => admin.delete('/v1/issuers/releases@example.org'),
    found: /^issuer releases@example.org: version 1, by the record version 1, removed$/,
  },
  {
    what: 'reference values that were replaced',
    tables: ['reference_values'],
    before: (world) => publish(world, { version: 1 }),
    change: (world) => publish(world, { version: 2 }),
    found: /^reference values releases@example.org\/\S+: newest version 1, by the record 2$/,
  },
  {
    what: 'the key that signed tokens before',
    tables: ['signing_keys'],
    change: ({ admin }) => admin.post('/v1/keys/rotate', { overlap: 0 }),
    found: /^signing key \S+: not there, by the record made$/,
  },
];

const differences = async ({ admin }: TestBroker) => {
  const { json } = await admin.get<{ checks: { id: string; status: string; found: string }[] }>(
    '/v1/audit/verify',
  );
  return json.checks.filter(({ status }) => status === 'fail').map(({ id, found }) => ({ id, found }));
};

async function prepared(options: { readonly database?: string } = {}): Promise<TestBroker> {
  const world = await makeBroker(options);
  await storeSecret(world, path);
  return world;
}

describe('rows that are put back as they stood once', () => {
  it.each(rollbacks)('the record knows better: $what', async ({ tables, before, change, found }) => {
    const world = await prepared();
    await before?.(world);
    const putBack = await copyOf(world.broker.state.db, tables);
    expect((await change(world)).status).toBeLessThan(300);
    expect(await differences(world)).toEqual([]);
    await putBack();
    expect(await differences(world)).toEqual([{ id: 'record.state', found: expect.stringMatching(found) }]);
  });

  it('the record knows better: a token that was revoked', async () => {
    const world = await prepared();
    const { id, as } = await tokenFor(world, ['admin']);
    const putBack = await copyOf(world.broker.state.db, ['admin_tokens']);
    expect((await world.admin.delete(`/v1/tokens/${id}`)).status).toBe(200);
    expect((await as.get(secret)).status).toBe(401);
    expect(await differences(world)).toEqual([]);
    await putBack();
    // Authentic, and so taken: what the record is for.
    expect((await as.get(secret)).status).toBe(200);
    expect(await differences(world)).toEqual([
      { id: 'record.state', found: `token ${id}: good, by the record revoked` },
    ]);
  });

  it('the record knows better: an earlier signing key beside the new one', async () => {
    const world = await prepared();
    const { query } = world.broker.state.db;
    const [row] = await query.selectFrom('signing_keys').selectAll().execute();
    await world.admin.post('/v1/keys/rotate', { overlap: 0 });
    await query.updateTable('signing_keys').set(row!).where('id', '=', row!.id).execute();
    expect(await differences(world)).toEqual([
      { id: 'record.state', found: 'signing keys: 2 sign, by the record 1' },
    ]);
  });

  it('the record knows better: the master key before the one that is', async () => {
    const world = await prepared();
    const { record } = world.broker.state;
    const change = { act: 'master-key.change', by: 'alice', from: 'local:a', to: world.masterKey.id };
    await record.appendAlone({ kind: 'administration', body: change });
    expect(await differences(world)).toEqual([]);
    await record.appendAlone({ kind: 'administration', body: { ...change, to: 'local:b' } });
    expect(await differences(world)).toEqual([
      { id: 'record.state', found: `master key: ${world.masterKey.id}, by the record local:b` },
    ]);
  });
});

onEveryEngine('what changed back and forth, by two replicas,', (newDatabase) => {
  it('is as it was left', async () => {
    const world = await prepared({ database: newDatabase() });
    const other = await world.open({ replica: 'two' });
    const elsewhere = administrator(other, world.token);
    await disable(world);
    await elsewhere.patch(secret, { state: 'enabled' });
    await disable(world, { version: 1 });
    await elsewhere.delete('/v1/policies/default');
    await elsewhere.put('/v1/policies/default', otherPolicy);
    await elsewhere.put(secret, { content: base64('newer') });
    await world.admin.delete(secret);
    await elsewhere.put(secret, { content: base64('newest') });
    await world.admin.patch(secret, { state: 'disabled' });
    expect(await differences(world)).toEqual([]);
  });
});
