import { expect, test } from 'vitest';
import { RefusedError, verdict } from '../appraisal/appraisal.js';
import { toHex } from '../bytes.js';
import { digest } from '../crypto/index.js';
import { MalformedError } from '../errors.js';
import { describeWithVectors, jsonVector, vectors } from '../testing/vectors.js';
import { buildExport, type ChainFile, type PlatformChain, parseChainFiles } from './bundle.js';
import { certificateLine, summarizeChain } from './certificate-summary.js';
import { verifyPlatformChain } from './chain.js';
import { amdPlatformRoots } from './roots.js';

const files = [
  'naples/pdh.cert',
  'naples/pek.cert',
  'naples/oca.cert',
  'naples/cek.cert',
  'ca/naples/ask.cert',
  'ca/naples/ark.cert',
];
const folder = (name: string) => `sev/${name}`;
const naples = () => files.map((name) => ({ name, bytes: vectors(folder(name)) }));
const verify = async (inputs: readonly ChainFile[]) =>
  verifyPlatformChain(parseChainFiles(inputs), { roots: amdPlatformRoots });

/** The check that refuses a chain. Anything else that is thrown than a refusal is a fault. */
async function refusedBy(inputs: readonly ChainFile[]): Promise<string | undefined> {
  try {
    return verdict(await verify(inputs)).failed[0]?.id;
  } catch (error) {
    if (error instanceof RefusedError) return verdict(error.appraisal).failed[0]?.id;
    throw error;
  }
}

describeWithVectors('the chain of a real Naples platform', () => {
  test('leads to AMD’s root', async () => {
    const appraisal = await verify(naples());
    expect(appraisal.checks.filter(({ status }) => status === 'fail')).toEqual([]);
    expect(verdict(appraisal).word).toBe('authentic');
    expect(appraisal.root).toEqual({
      name: 'AMD, Naples',
      kind: 'amd',
      fingerprint: '8efddcaaf84990cf6354d93637be270220cf15797332b3d918c3b8cc77349f31',
    });
    const notAsked = appraisal.checks.filter(({ status }) => status === 'not-asked').map(({ id }) => id);
    expect(notAsked).toEqual(['chain.cek.exported', 'chain.oca.pinned', 'chain.pek.api']);
  });

  test('is accepted, and not merely authentic, when it meets what the owner expects', async () => {
    const chain = parseChainFiles(naples());
    const options = { roots: amdPlatformRoots, owner: chain.oca!.raw, exportedCek: chain.cek!.raw };
    const appraisal = await verifyPlatformChain(chain, {
      ...options,
      minimumApi: { apiMajor: 0, apiMinor: 16 },
    });
    expect(appraisal.checks.map(({ status }) => status)).toEqual(appraisal.checks.map(() => 'pass'));
    expect(verdict(appraisal).word).toBe('accepted');
  });

  test('exports as sevctl does', async () => {
    const expected = jsonVector<Record<string, unknown>>('sev/naples/expected.json');
    const chain = parseChainFiles(naples());
    expect(toHex(await digest('sha256', buildExport(chain)))).toBe(expected['sha256_export']);
    expect(toHex(await digest('sha256', buildExport(chain, { full: true })))).toBe(
      expected['sha256_export_full'],
    );
  });

  test('is summarised in sevctl’s words', async () => {
    const lines = (await summarizeChain(parseChainFiles(naples()))).map(certificateLine);
    expect(lines).toEqual([
      'PDH EP384 D256 dbec0cf343b140dc7ded571935e8d0ec8059fd1610ddb3c79eb177e7cd3878a2',
      'PEK EP384 E256 8d55d63b6792c6ed10e11df7afc7e25d6a0428a6351fb9a806ec4160f2b0f390',
      'OCA EP384 E256 70bb8f3702b22e848ef7a5dac704186ee80a889273443b4b5466da9405d4cc03',
      'CEK EP384 E256 0f6570c3ddec6b393398084251f6924fcfb7d8fa1779e4e36dbbca30ee0c4f38',
      'ASK R2048 R256 5dff2a2a4dd59dc095d73a26af28be523192ade830bdd35bacdd81ee75584c45',
      'ARK R2048 R256 8efddcaaf84990cf6354d93637be270220cf15797332b3d918c3b8cc77349f31',
    ]);
  });

  test('every row of mutations.json is refused', async () => {
    const { cases } = jsonVector<{ cases: { file: string; offset: number; xor: number; what: string }[] }>(
      'sev/naples/mutations.json',
    );
    expect(cases.length).toBe(6);
    for (const { file, offset, xor, what } of cases) {
      const inputs = naples();
      inputs.find(({ name }) => name === `naples/${file}`)!.bytes[offset]! ^= xor;
      expect(await refusedBy(inputs), what).toMatch(/^chain\./);
    }
  });

  const exhaustive = process.env['VOUCHSAFE_FULL'] === '1';
  test(`${exhaustive ? 'every flipped bit' : 'one flipped bit in every byte'} is refused`, async () => {
    const chain = parseChainFiles(naples());
    const seeded = pseudoRandom(0x5e5);
    const bitsToFlip = () => (exhaustive ? [0, 1, 2, 3, 4, 5, 6, 7] : [seeded() & 7]);
    const survivors: string[] = [];
    let tried = 0;
    for (const role of ['pdh', 'pek', 'oca', 'cek', 'ask', 'ark'] as const) {
      const { [role]: good, ...rest } = chain;
      const flip = async (offset: number, bit: number) => {
        tried++;
        const bytes = good!.raw.slice();
        bytes[offset]! ^= 1 << bit;
        if (!(await isRefused(rest, { name: role, bytes })))
          survivors.push(`${role}: bit ${bit} of byte ${offset}`);
      };
      for (let offset = 0; offset < good!.raw.length; offset += 4) {
        const block = [offset, offset + 1, offset + 2, offset + 3];
        await Promise.all(block.flatMap((at) => bitsToFlip().map((bit) => flip(at, bit))));
      }
    }
    expect(survivors).toEqual([]);
    expect(tried).toBe(exhaustive ? 80_000 : 10_000);
  }, 1_800_000);
});

/** Whether a chain is refused whose last certificate comes from a file. The others are read once, which saves time. */
async function isRefused(rest: PlatformChain, changed: ChainFile): Promise<boolean> {
  let chain: PlatformChain;
  try {
    chain = { ...rest, ...parseChainFiles([changed]) };
  } catch (error) {
    if (error instanceof MalformedError) return true;
    throw error;
  }
  return !verdict(await verifyPlatformChain(chain, { roots: amdPlatformRoots })).accepted;
}

/** A small generator with a fixed seed (mulberry32), so that a failure can be run again. */
function pseudoRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let word = Math.imul(state ^ (state >>> 15), state | 1);
    word ^= word + Math.imul(word ^ (word >>> 7), word | 61);
    return (word ^ (word >>> 14)) >>> 0;
  };
}
