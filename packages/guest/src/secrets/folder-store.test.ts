import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { UnavailableError, wellKnownSecretGuids } from '@vouchsafe/sev';
import { expect, it } from 'vitest';
import { temporaryFolder } from '../testing/temporary.js';
import { folderSecretStore } from './folder-store.js';

it.each(['README', '../outside', './README', `../secrets/${wellKnownSecretGuids.luksKey}`])(
  'a store over a folder neither reads nor removes %s, which is not the GUID of a secret in it',
  async (name) => {
    const folder = join(temporaryFolder(), 'secrets');
    mkdirSync(folder);
    writeFileSync(join(folder, wellKnownSecretGuids.luksKey), 'a secret');
    writeFileSync(join(folder, 'readme'), 'not a secret');
    writeFileSync(join(folder, '../outside'), 'not a secret');
    const store = folderSecretStore(folder);
    await expect(store.read(name)).rejects.toThrow(UnavailableError);
    await expect(store.unlink(name)).rejects.toThrow(UnavailableError);
    expect(existsSync(join(folder, name.toLowerCase()))).toBe(true);
  },
);
