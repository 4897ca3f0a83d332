import { expect, test } from 'vitest';
import { toHex } from '../bytes.js';
import { digest } from '../crypto/index.js';
import { describeWithVectors, jsonVector, vectors } from '../testing/vectors.js';
import { buildExport, parseChainFiles } from './bundle.js';
import { bodyDigest, isCaSignedBy } from './ca-certificate.js';
import { isSignedBy } from './certificate-signature.js';

describeWithVectors('smoke', () => {
  test('naples', async () => {
    const files = ['naples/pdh', 'naples/pek', 'naples/oca', 'naples/cek', 'ca/naples/ask', 'ca/naples/ark'];
    const chain = parseChainFiles(files.map((name) => ({ name, bytes: vectors(`sev/${name}.cert`) })));
    const expected = jsonVector<Record<string, string>>('sev/naples/expected.json');
    expect(toHex(await digest('sha256', buildExport(chain)))).toBe(expected['sha256_export']);
    expect(toHex(await digest('sha256', buildExport(chain, { full: true })))).toBe(
      expected['sha256_export_full'],
    );
    expect(await isSignedBy(chain.cek!, chain.ask!)).toBe(true);
    expect(await isSignedBy(chain.pek!, chain.cek!)).toBe(true);
    expect(await isSignedBy(chain.pek!, chain.oca!)).toBe(true);
    expect(await isSignedBy(chain.pdh!, chain.pek!)).toBe(true);
    expect(await isCaSignedBy(chain.ask!, chain.ark!)).toBe(true);
    expect(await bodyDigest(chain.ask!)).toMatch(/^5dff2a2a/);
  });
});
