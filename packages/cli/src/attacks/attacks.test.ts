import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { testAuthorityKeys } from '../../../kds/src/testing/authority-keys.js';
import type { Attack, Outcome } from './attack.js';
import { type BrokerWorld, createBrokerWorld } from './broker/world.js';
import { attacks, brokerAttacks, sevAttacks, snpAttacks } from './catalogue.js';
import { createWorld, type World } from './sev/world.js';
import { createSnpWorld, type SnpWorld } from './snp/world.js';

/** Every attack of the catalogue, tried for real; docs/attacks.md says what these tests show. */

test('ids are unique, and every attack that succeeds names its limit', () => {
  expect(new Set(attacks.map(({ id }) => id)).size).toBe(attacks.length);
  for (const { refusedBy, limit, id } of attacks)
    expect(limit !== undefined, id).toBe(refusedBy === 'nobody');
});

function expectAsDeclared(attack: Attack, outcome: Outcome): void {
  expect({ refusedBy: outcome.refusedBy, at: outcome.at }, outcome.evidence).toEqual({
    refusedBy: attack.refusedBy,
    at: attack.at,
  });
}

for (const mode of ['sev', 'sev-es'] as const) {
  describe(mode, () => {
    let world: World;
    beforeAll(async () => {
      world = await createWorld({ mode, generateKeys: testAuthorityKeys });
    });
    afterAll(() => world.close());

    for (const attack of sevAttacks.filter(({ modes }) => modes.includes(mode))) {
      test(`${attack.id}: ${attack.title}`, async () => {
        expectAsDeclared(attack, await attack.run(world, await world.rig()));
      });
    }
  });
}

describe('snp', () => {
  let world: SnpWorld;
  beforeAll(async () => {
    world = await createSnpWorld({ generateKeys: testAuthorityKeys });
  });
  afterAll(() => world.close());

  for (const attack of snpAttacks) {
    test(`${attack.id}: ${attack.title}`, async () => {
      expectAsDeclared(attack, await attack.run(world, await world.rig()));
    });
  }
});

describe('broker', () => {
  let world: BrokerWorld;
  beforeAll(async () => {
    world = await createBrokerWorld({ generateKeys: testAuthorityKeys });
  });
  afterAll(() => world.close());

  for (const attack of brokerAttacks) {
    test(`${attack.id}: ${attack.title}`, async () => {
      expectAsDeclared(attack, await attack.run(world, await world.rig()));
    });
  }
});
