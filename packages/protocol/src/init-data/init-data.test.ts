import { gzipSync } from 'node:zlib';
import { fromBase64, InvalidArgumentError, MalformedError, toBase64, toHex } from '@vouchsafe/sev';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { describeWithVectors, vectors } from '../../../sev/src/testing/vectors.js';
import { initDataDigest, parseInitData } from '../rcar/init-data.js';
import {
  initDataAnnotation,
  initDataDisk,
  isInitDataDisk,
  largestInitData,
  parseInitDataAnnotation,
  parseInitDataDisk,
} from './containers.js';
import { initDataText } from './write.js';

const utf8 = (text: string) => new TextEncoder().encode(text);

describe('writing init-data', () => {
  it('says every text again, whatever is in it', () => {
    const name = fc.string({ unit: 'grapheme', minLength: 1 }).filter((text) => text !== '__proto__');
    const text = fc.oneof(
      fc.string({ unit: 'grapheme' }),
      fc.constantFrom(
        "'''",
        "a'",
        "'''\n",
        '\n\n',
        'a\r\nb',
        '\t',
        '"""',
        '\\',
        '\u0000',
        '\u007f',
        '\u0085',
      ),
    );
    fc.assert(
      fc.property(fc.dictionary(name, text), fc.constantFrom('sha256', 'sha384', 'sha512'), (files, hash) => {
        const read = parseInitData(initDataText(files, hash as 'sha256'));
        expect({ ...read.data }).toEqual({ ...files });
        expect(read.algorithm).toBe(hash);
      }),
    );
  });

  it('leaves a policy readable', () => {
    expect(initDataText({ 'policy.rego': 'package agent\ndefault allow := "no"\n' })).toBe(
      `version = "0.1.0"\nalgorithm = "sha256"\n\n[data]\n"policy.rego" = '''\npackage agent\ndefault allow := "no"\n'''\n`,
    );
  });

  it('refuses a file without a name', () => {
    expect(() => initDataText({ '': 'a' })).toThrow(InvalidArgumentError);
  });
});

describe('an annotation and a disk', () => {
  const toml = initDataText({ 'aa.toml': 'é'.repeat(300) });

  it('give the document back, byte for byte', async () => {
    expect(await parseInitDataAnnotation(`${await initDataAnnotation(toml)}\n`)).toBe(toml);
    const disk = await initDataDisk(toml);
    expect([disk.length % 512, isInitDataDisk(disk)]).toEqual([0, true]);
    expect(new DataView(disk.buffer).getBigUint64(8, true)).toBeLessThan(512n);
    expect(await parseInitDataDisk(disk)).toBe(toml);
    const larger = new Uint8Array(1 << 20);
    larger.set(disk);
    expect(await parseInitDataDisk(larger)).toBe(toml);
  });

  it('are made by others too', async () => {
    expect(await parseInitDataAnnotation(gzipSync(toml, { level: 9 }).toString('base64'))).toBe(toml);
  });

  it('that were altered are refused, and so are such that unpack to too much', async () => {
    const annotation = fromBase64(await initDataAnnotation(toml));
    const cut = toBase64(annotation.subarray(0, -1));
    const flipped = annotation.slice();
    flipped[flipped.length - 6]! ^= 1;
    const twice = toBase64(new Uint8Array([...annotation, 1]));
    const large = gzipSync(Buffer.alloc(largestInitData + 1)).toString('base64');
    for (const text of ['', '*', cut, toBase64(flipped), twice, large])
      await expect(parseInitDataAnnotation(text)).rejects.toBeInstanceOf(MalformedError);
    await expect(parseInitDataAnnotation(large)).rejects.toMatchObject({ found: 'more' });
    await expect(initDataAnnotation('a'.repeat(largestInitData + 1))).rejects.toThrow(InvalidArgumentError);
    const latin = gzipSync(Uint8Array.of(0xe9)).toString('base64');
    await expect(parseInitDataAnnotation(latin)).rejects.toMatchObject({ expected: 'text in UTF-8' });
  });

  it.each<[string, number, number, string]>([
    ['another magic', 3, 0x54, 'magicFirst'],
    ['another magic, later', 7, 0x54, 'magicSecond'],
    ['a length beyond the disk', 9, 0xff, 'length'],
    ['a length of 2^63', 15, 0x80, 'length'],
    ['a byte behind the data', 511, 1, 'padding'],
    ['other data', 60, 0xff, 'gzip'],
  ])('a disk with %s is refused', async (_, at, value, field) => {
    const disk = await initDataDisk(toml);
    disk[at] = value;
    await expect(parseInitDataDisk(disk)).rejects.toMatchObject({ code: 'malformed', field });
  });
});

describeWithVectors('kbs/initdata', () => {
  it('the disk that Kata’s own test has', async () => {
    const disk = vectors('kbs/initdata/initdata.img');
    expect(isInitDataDisk(disk)).toBe(true);
    expect(await parseInitDataDisk(disk)).toBe('some content');
  });

  it('the document with a policy, through an annotation and a disk', async () => {
    const toml = new TextDecoder().decode(vectors('kbs/initdata/init-data-with-policy.toml'));
    for (const through of [
      await parseInitDataAnnotation(await initDataAnnotation(toml)),
      await parseInitDataDisk(await initDataDisk(toml)),
    ])
      expect(toHex(await initDataDigest(through))).toBe(
        '0deccded0d87ec44702c7330fac3eb936b68dcca5c9f6b5df1fb3480c0b525ac',
      );
    const again = initDataText(parseInitData(toml).data);
    expect(parseInitData(again).data).toEqual(parseInitData(toml).data);
    expect(utf8(again).length).toBeLessThan(utf8(toml).length + 200);
  });
});
