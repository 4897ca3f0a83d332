import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  bundleForBrowsers,
  describeWithChromium,
  openChromium,
  type Pages,
  servePages,
} from './testing/browser.js';
import { describeWithVectors, vectors } from './testing/vectors.js';

const repository = resolve(import.meta.dirname, '../../..');
const readme = readFileSync(join(repository, 'packages/sev/README.md'), 'utf8');

/** The one block of a language, at a date at which the certificates are valid. */
function block(language: string): string {
  const found = [...readme.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, 'gm'))];
  expect(found).toHaveLength(1);
  const text = found[0]![1]!;
  expect(text).toContain('Date.now()');
  return text.replace('Date.now()', "Date.parse('2026-03-07')");
}

describeWithVectors('packages/sev/README.md', () => {
  const files = {
    'report.bin': vectors('snp/reports/turin-v5-azure.bin'),
    'vcek.pem': vectors('snp/reports/turin-v5-azure.vcek.pem'),
    'cert_chain.pem': vectors('snp/certs/cert_chain_turin.pem'),
  };

  test('its example for Node is about ten lines, and runs', async () => {
    const example = block('js');
    expect(example.split('\n').filter((line) => line.trim() !== '').length).toBeLessThanOrEqual(11);
    const tsc = join(repository, 'node_modules/typescript7/bin/tsc');
    execFileSync(process.execPath, [tsc, '-b', 'packages/sev'], { cwd: repository });
    const folder = mkdtempSync(join(tmpdir(), 'vouchsafe-readme-'));
    try {
      mkdirSync(join(folder, 'node_modules/@vouchsafe'), { recursive: true });
      symlinkSync(join(repository, 'packages/sev'), join(folder, 'node_modules/@vouchsafe/sev'));
      for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content);
      const run = async (text: string) => {
        writeFileSync(join(folder, 'example.mjs'), text);
        return promisify(execFile)(process.execPath, ['example.mjs'], { cwd: folder });
      };
      expect(await run(example)).toEqual({ stdout: 'accepted AMD, Turin\n', stderr: '' });
      const refused = await run(example.replace('vmpl: 0', 'vmpl: 1'));
      expect(refused.stdout).toMatch(/^refused AMD, Turin\n\{\s*id: 'report\.vmpl'/);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  describeWithChromium('its example for a browser', () => {
    let browser: Browser;
    let pages: Pages;
    beforeAll(async () => {
      const { text } = await bundleForBrowsers(join(import.meta.dirname, 'index.ts'));
      pages = await servePages({ '/': ['text/html', block('html')], '/sev.js': ['text/javascript', text] });
      browser = await openChromium();
    });
    afterAll(async () => {
      await browser?.close();
      await pages?.close();
    });

    test('is about ten lines, and runs', async () => {
      expect(block('html').trimEnd().split('\n').length).toBeLessThanOrEqual(11);
      const page = await browser.newPage();
      for (const [name, content] of Object.entries(files))
        await page.route(`**/${name}`, (route) => route.fulfill({ body: Buffer.from(content) }));
      await page.goto(pages.origin);
      await page.waitForFunction('document.body?.textContent.includes(":")');
      expect(await page.textContent('body')).toBe('authentic: AMD, Turin');
    });
  });
});
