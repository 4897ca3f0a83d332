import type { Generation } from '@vouchsafe/sev';
import { keptKey } from '../../../sev/src/testing/kept-keys.js';
import type { AuthorityKeys } from '../authority-keys.js';

/** Keys for development authorities in tests. */
export async function testAuthorityKeys(generation: Generation): Promise<AuthorityKeys> {
  const bits = generation === 'naples' ? 2048 : 4096;
  const older = generation === 'naples' || generation === 'rome';
  return {
    ark: keptKey('ark', bits),
    ask: keptKey('ask', bits),
    ...(older ? {} : { asvk: keptKey('asvk', bits) }),
  };
}

/** Those of an authority that nobody was told to trust. */
export async function strangerKeys(generation: Generation): Promise<AuthorityKeys> {
  const { ark, ask } = await testAuthorityKeys(generation);
  return { ark: ask, ask: ark };
}
