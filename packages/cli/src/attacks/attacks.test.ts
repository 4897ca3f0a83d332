import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { testAuthorityKeys } from '../../../kds/src/testing/authority-keys.js';
import { attacks } from './catalogue.js';
import { createWorld, type World } from './world.js';

/** Every attack of the catalogue, tried for real; docs/attacks.md says what these tests show. */

test('ids are unique, and every attack that succeeds names its limit', () => {
  expect(new Set(attacks.map(({ id }) => id)).size).toBe(attacks.length);
  for (const { refusedBy, limit, id } of attacks)
    expect(limit !== undefined, id).toBe(refusedBy === 'nobody');
});

for (const mode of ['sev', 'sev-es'] as const) {
  describe(mode, () => {
    let world: World;
    beforeAll(async () => {
      world = await createWorld({ mode, generateKeys: testAuthorityKeys });
    });
    afterAll(() => world.close());

    for (const attack of attacks.filter(({ modes }) => modes.includes(mode))) {
      test(`${attack.id}: ${attack.title}`, async () => {
        const outcome = await attack.run(world, await world.rig());
        expect({ refusedBy: outcome.refusedBy, at: outcome.at }, outcome.evidence).toEqual({
          refusedBy: attack.refusedBy,
          at: attack.at,
        });
      });
    }
  });
}
