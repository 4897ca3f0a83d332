import { MalformedError, toHex } from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import { describeWithVectors, vectors } from '../../../sev/src/testing/vectors.js';
import { initDataDigest, parseInitData } from './init-data.js';

const head = 'version = "0.1.0"\nalgorithm = "sha256"\n';

describeWithVectors('kbs/initdata/init-data-with-policy.toml', () => {
  const text = () => new TextDecoder().decode(vectors('kbs/initdata/init-data-with-policy.toml'));

  it('has the digests of the sheet, the longer one cut', async () => {
    expect(toHex(await initDataDigest(text()))).toBe(
      '0deccded0d87ec44702c7330fac3eb936b68dcca5c9f6b5df1fb3480c0b525ac',
    );
    const files = parseInitData(text()).data;
    expect(Object.keys(files)).toContain('policy.rego');
    expect(files['policy.rego']).toMatch(/policy_data\s*:=\s*\{/);
  });
});

describe('init-data', () => {
  it('is hashed as it is written, not as what it means', async () => {
    const one = `${head}[data]\na = "1"\n`;
    const other = `${head}[data]\na  = "1"\n`;
    expect(parseInitData(one)).toEqual(parseInitData(other));
    expect(await initDataDigest(one)).not.toEqual(await initDataDigest(other));
  });

  it.each([
    ['sha256', 'SHA-256'],
    ['sha384', 'SHA-384'],
    ['sha512', 'SHA-512'],
  ])('names its own hash: %s', async (name, hash) => {
    const text = `version = "0.1.0"\nalgorithm = "${name}"\n[data]\n"aa.toml" = '''é'''\n`;
    const expected = await globalThis.crypto.subtle.digest(hash, new TextEncoder().encode(text));
    expect(await initDataDigest(text)).toEqual(new Uint8Array(expected).slice(0, 32));
  });

  it.each<[string, string, string]>([
    ['no TOML', '{', '/'],
    ['a member twice', `${head}algorithm = "sha384"\n[data]\n`, '/'],
    ['another version', 'version = "0.2.0"\nalgorithm = "sha256"\n[data]\n', 'version'],
    ['no version', 'algorithm = "sha256"\n[data]\n', 'version'],
    ['another hash', 'version = "0.1.0"\nalgorithm = "sm3"\n[data]\n', 'algorithm'],
    ['a hash by prototype', 'version = "0.1.0"\nalgorithm = "toString"\n[data]\n', 'algorithm'],
    ['no data', head, 'data'],
    ['data in a list', `${head}data = []\n`, 'data'],
    ['data that is a date', `${head}data = 2026-11-22\n`, 'data'],
    ['a file that is no text', `${head}[data]\na = 1\n`, 'data.a'],
    ['a member too many', `${head}more = 1\n[data]\n`, 'more'],
  ])('with %s is refused', async (_, text, field) => {
    await expect(initDataDigest(text)).rejects.toBeInstanceOf(MalformedError);
    await expect(initDataDigest(text)).rejects.toMatchObject({ field });
  });
});
