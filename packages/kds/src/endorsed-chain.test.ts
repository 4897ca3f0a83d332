import {
  amdPlatformRoots,
  concat,
  generations,
  parseChainFiles,
  verdict,
  verifyPlatformChain,
} from '@vouchsafe/sev';
import { expect, onTestFinished, test } from 'vitest';
import { createKdsClient } from './client.js';
import { openDevelopmentAuthority } from './development-authority.js';
import { serveKds } from './server.js';
import { testAuthorityKeys } from './testing/authority-keys.js';
import { makeChip } from './testing/chip.js';
import { makePlatform } from './testing/platform.js';
import { temporaryFolder } from './testing/temporary.js';

/** What an owner gathers for a software processor of this generation: the host's export, the rest from the service. */
async function gathered(generation: (typeof generations)[number]) {
  const folder = temporaryFolder();
  const authority = await openDevelopmentAuthority({ folder, generation, generateKeys: testAuthorityKeys });
  const server = await serveKds(authority);
  onTestFinished(() => server.close());
  const chip = await makeChip();
  await authority.endorse(chip.id, chip.cek);
  const client = createKdsClient({ baseUrl: server.url });
  const platform = await makePlatform(chip);
  const signedCek = await client.cek(chip.id, { exported: chip.cek });
  const { askArk } = await client.issuerOf(signedCek);
  return {
    authority,
    chip,
    chain: parseChainFiles([{ name: 'export', bytes: concat(platform, signedCek, askArk) }]),
  };
}

test.each(generations)(
  'an endorsed processor of %s leads to the development root that is named',
  async (generation) => {
    const { authority, chip, chain } = await gathered(generation);
    const appraisal = await verifyPlatformChain(chain, { roots: [authority.root], exportedCek: chip.cek });
    expect(verdict(appraisal).failed).toEqual([]);
    expect(appraisal.root).toMatchObject({ name: authority.root.name, kind: 'development' });
  },
);

test('it never passes for a chip of AMD’s, nor for one of another development authority', async () => {
  const { chain } = await gathered('milan');
  const other = await gathered('rome');
  for (const roots of [amdPlatformRoots, [other.authority.root]]) {
    const appraisal = await verifyPlatformChain(chain, { roots });
    expect(appraisal.root).toBeUndefined();
    expect(verdict(appraisal).failed.map((check) => check.id)).toContain('chain.ark.root');
  }
});

test('another chip’s endorsement does not fit', async () => {
  const { authority, chain } = await gathered('naples');
  const stranger = await makeChip();
  const appraisal = await verifyPlatformChain(chain, { roots: [authority.root], exportedCek: stranger.cek });
  expect(verdict(appraisal).failed.map((check) => check.id)).toEqual(['chain.cek.exported']);
});
