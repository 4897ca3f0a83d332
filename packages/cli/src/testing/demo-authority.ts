import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openDevelopmentAuthority } from '@vouchsafe/kds';
import { testAuthorityKeys } from '../../../kds/src/testing/authority-keys.js';

/** The option that gives a demo an authority whose keys are there already, and what removes its folder. */
export async function demoAuthority() {
  const folder = mkdtempSync(join(tmpdir(), 'vouchsafe-demo-authority-'));
  await openDevelopmentAuthority({ folder, generation: 'milan', generateKeys: testAuthorityKeys });
  return {
    option: ['--authority', folder],
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}
