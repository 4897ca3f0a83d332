import { RefusedError, Secret, UnavailableError } from '@vouchsafe/sev';
import { expect, it } from 'vitest';
import { onEveryEngine } from '../state/testing/engines.js';
import { masterKey, openState } from '../state/testing/state.js';
import type { MasterKey } from './master-key.js';
import { changeMasterKey, isSealedUnder } from './root-key.js';

onEveryEngine('a root key that another master key is to wrap', (newDatabase) => {
  it.each<[string, MasterKey['unwrap']]>([
    ['nothing', async () => undefined],
    ['another key', async () => Secret.take(new Uint8Array(32))],
    ['a key of another length', async () => Secret.take(new Uint8Array(31))],
  ])('stays where it is when that gives back %s', async (_what, unwrap) => {
    const url = newDatabase();
    const { db } = await openState(url);
    const to: MasterKey = { ...masterKey(2), unwrap };
    const error: unknown = await changeMasterKey(db, masterKey(), to).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(UnavailableError);
    expect(String(error)).toContain('does not give back what it has wrapped');
    expect(await isSealedUnder(db, masterKey())).toBe(true);
    expect(await isSealedUnder(db, masterKey(2))).toBe(false);
  });

  it('is told from one of the same name that another service has wrapped', async () => {
    const { db } = await openState(newDatabase());
    const namesake: MasterKey = { ...masterKey(2), id: masterKey().id };
    expect(await isSealedUnder(db, namesake)).toBe(false);
    await changeMasterKey(db, masterKey(), namesake);
    expect(await isSealedUnder(db, namesake)).toBe(true);
    expect(await isSealedUnder(db, masterKey())).toBe(false);
  });

  it('goes to one of two that change it at once, and the other is told', async () => {
    const { db } = await openState(newDatabase());
    /** Does something else to the database while this change asks for its key. */
    const interrupted = (by: () => Promise<void>): MasterKey => ({
      ...masterKey(2),
      async wrap(key, context) {
        await by();
        return masterKey(2).wrap(key, context);
      },
    });
    const anew = interrupted(() => changeMasterKey(db, masterKey(), masterKey()));
    await expect(changeMasterKey(db, masterKey(), anew)).rejects.toThrow(
      'changed by somebody else meanwhile',
    );
    const away = interrupted(() => changeMasterKey(db, masterKey(), masterKey(3)));
    await expect(changeMasterKey(db, masterKey(), away)).rejects.toThrow(RefusedError);
    expect(await isSealedUnder(db, masterKey(3))).toBe(true);
  });
});
