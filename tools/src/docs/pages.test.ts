import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { anchor, hexadecimal, table } from './markdown.js';
import { generatedPages, pageText } from './pages.js';

const repository = resolve(import.meta.dirname, '../../..');

describe('generated pages', () => {
  it.each(generatedPages.map((page) => [page.path, page] as const))(
    '%s is what `npm run docs` writes',
    async (path, page) => {
      const file = join(repository, path);
      expect(existsSync(file), `${path} is missing: npm run docs`).toBe(true);
      expect(readFileSync(file, 'utf8') === (await pageText(page)), `${path} is stale: npm run docs`).toBe(
        true,
      );
    },
  );

  it('keep cells inside their table', () => {
    expect(table(['a', 'b'], [['x|y', 'two\nlines']])).toBe(
      '| a | b |\n| --- | --- |\n| x\\|y | two lines |',
    );
    expect(hexadecimal(0x1a, 0x824)).toBe('0x01a');
    expect(anchor('PEK certificate (legacy), v1')).toBe('pek-certificate-legacy-v1');
  });
});
