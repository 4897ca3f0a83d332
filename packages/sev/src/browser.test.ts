import { isBuiltin } from 'node:module';
import { join } from 'node:path';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  bundleForBrowsers,
  describeWithChromium,
  openChromium,
  type Pages,
  servePages,
} from './testing/browser.js';
import { describeWithVectors } from './testing/vectors.js';
import { portableCases } from './testing/verdict-cases.js';
import { verdictsOf } from './testing/verdict-suite.js';

const start = `import { verdictsOf } from '/suite.js'; globalThis.verdictsOf = verdictsOf;`;
const suite = join(import.meta.dirname, 'testing/verdict-suite.ts');

test('nothing of Node is in what a browser loads', async () => {
  const { text, inputs } = await bundleForBrowsers(join(import.meta.dirname, 'index.ts'));
  const files = Object.keys(inputs);
  expect(files.some((file) => file.endsWith('crypto/web.ts'))).toBe(true);
  expect(files.filter((file) => file.endsWith('/node.ts'))).toEqual([]);
  const imported = Object.values(inputs).flatMap(({ imports }) => imports);
  expect(imported.filter(({ path, external }) => external === true || isBuiltin(path))).toEqual([]);
  expect(text).not.toMatch(
    /^\s*(?:import|export)\b.*\bfrom\s*["']|\bimport\s*\(|\brequire\s*\(|\bprocess\.|\bBuffer\b/m,
  );
});

describeWithVectors('published verdicts', () => {
  const cases = portableCases();
  const [asked, answers] = [cases.map(({ ask }) => ask), cases.map(({ answer }) => answer)];

  test('in Node', async () => {
    expect(await verdictsOf(asked)).toEqual(answers);
  });

  describeWithChromium('in Chromium', () => {
    let browser: Browser;
    let pages: Pages;
    beforeAll(async () => {
      const { text } = await bundleForBrowsers(suite);
      pages = await servePages({
        '/': ['text/html', `<!doctype html><script type="module">${start}</script>`],
        '/suite.js': ['text/javascript', text],
      });
      browser = await openChromium();
    });
    afterAll(async () => {
      await browser?.close();
      await pages?.close();
    });

    test('are the same', async () => {
      const page = await browser.newPage();
      await page.goto(pages.origin);
      const found = await page.evaluate(
        (list) => (globalThis as unknown as { verdictsOf: typeof verdictsOf }).verdictsOf(list),
        asked,
      );
      expect(found).toEqual(answers);
    });
  });
});
