import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  describeWithChromium,
  openChromium,
  type Pages,
  servePages,
} from '../../../packages/sev/src/testing/browser.js';
import { day, makeEndorser, testEndorserKeys } from '../../../packages/sev/src/testing/endorsements.js';
import { makeReport } from '../../../packages/sev/src/testing/reports.js';
import { describeWithVectors, vectorPath, vectors } from '../../../packages/sev/src/testing/vectors.js';
import { buildPage } from './build-page.js';

const root = resolve(import.meta.dirname, '../../..');

test('the page is one file that may touch nothing else', async () => {
  const html = await buildPage(root);
  expect(html.includes(`content="default-src 'none'; script-src 'sha256-`)).toBe(true);
  expect(/\b(?:src|href)=/.test(html)).toBe(false);
  expect(html.match(/<script type="module">[^<]/g)).toHaveLength(1);
  expect(/\{policy\}|<!--/.test(html)).toBe(false);
  expect(/\bfetch\(|\bXMLHttpRequest|\bWebSocket|\bimportScripts|\bsendBeacon/.test(html)).toBe(false);
});

describeWithChromium('the page', () => {
  let folder: string;
  let browser: Browser;
  let pages: Pages;
  let file: string;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'vouchsafe-page-'));
    const html = await buildPage(root);
    file = join(folder, 'verify.html');
    writeFileSync(file, html);
    pages = await servePages({ '/': ['text/html', html] });
    browser = await openChromium();
  });
  afterAll(async () => {
    await browser?.close();
    await pages?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  /** Opens the page; whatever a browser complains about is an error of the test. */
  async function open(url: string): Promise<{ page: Page; complaints: string[] }> {
    const page = await browser.newPage();
    const complaints: string[] = [];
    page.on('console', (message) => complaints.push(message.text()));
    page.on('pageerror', (error) => complaints.push(error.message));
    page.on('request', (request) => {
      if (request.url() !== url) complaints.push(`asked for ${request.url()}`);
    });
    await page.goto(url);
    return { page, complaints };
  }

  const heading = (page: Page, text: string) =>
    page.getByRole('heading', { name: text }).waitFor({ timeout: 15_000 });
  const check = (page: Page, id: string) => page.locator('li', { has: page.getByText(id, { exact: true }) });

  describeWithVectors('with genuine reports', () => {
    const path = (name: string) => vectorPath(`snp/${name}`);
    const turin = [
      'reports/turin-v5-azure.bin',
      'reports/turin-v5-azure.vcek.pem',
      'certs/cert_chain_turin.pem',
    ];

    test.each(['a file', 'this machine'])('verifies them, opened from %s', async (where) => {
      const { page, complaints } = await open(
        where === 'a file' ? pathToFileURL(file).href : `${pages.origin}/`,
      );
      await page.getByLabel('At this moment').fill('2026-03-07T01:04:33');
      await page.setInputFiles('#picker', turin.map(path));
      await heading(page, 'Authentic');
      expect(await page.locator('.root').innerText()).toBe('Root of trust: AMD, Turin');
      expect(await check(page, 'report.signature').getByRole('img').getAttribute('aria-label')).toBe(
        'passed',
      );
      expect(await page.locator('li.fail').count()).toBe(0);
      expect(complaints).toEqual([]);
      await page.close();
    });

    test('takes files that are dropped on it, and says what is refused', async () => {
      const { page, complaints } = await open(`${pages.origin}/`);
      await page.getByLabel('At this moment').fill('2022-10-24T00:55:28');
      const dropped = [
        'reports/milan-v2-debug.bin',
        'reports/milan-v2-debug.vcek.der',
        'certs/cert_chain_milan.pem',
      ];
      const contents = dropped.map((name) => [name, [...vectors(`snp/${name}`)]] as const);
      await page.evaluate((list) => {
        const transfer = new DataTransfer();
        for (const [name, bytes] of list) transfer.items.add(new File([new Uint8Array(bytes)], name));
        document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, bubbles: true }));
      }, contents);
      await heading(page, 'Refused');
      expect(await page.locator('li.fail code').allInnerTexts()).toEqual(['guest.debug']);
      expect(await page.locator('.root').innerText()).toBe('Root of trust: AMD, Milan');
      await page.getByLabel('allow a guest that its host can debug').check();
      await heading(page, 'Authentic');
      await page.getByRole('button', { name: 'Clear' }).click();
      await page.getByText('Drop a report to verify it.').waitFor();
      expect(complaints).toEqual([]);
      await page.close();
    });

    test('reads the host’s certificate table, hexadecimal text and a policy file', async () => {
      const { page } = await open(`${pages.origin}/`);
      const report = Buffer.from(vectors('snp/reports/genoa-v3-tsm.bin')).toString('hex');
      const policy = (vmpl: number) => ({
        name: 'policy.json',
        mimeType: 'application/json',
        buffer: Buffer.from(JSON.stringify({ vmpl })),
      });
      await page.getByLabel('At this moment').fill('2025-05-20T18:31:36');
      await page.setInputFiles('#picker', path('evidence/genoa-v3-tsm.auxblob.bin'));
      await page.setInputFiles('#picker', {
        name: 'r.hex',
        mimeType: 'text/plain',
        buffer: Buffer.from(report),
      });
      await heading(page, 'Authentic');
      await page.setInputFiles('#picker', policy(0));
      await heading(page, 'Accepted');
      await page.getByRole('button', { name: 'Clear' }).click();
      await page.setInputFiles('#picker', [policy(3)]);
      await page.setInputFiles('#picker', path('evidence/genoa-v3-tsm.auxblob.bin'));
      await page.setInputFiles('#picker', {
        name: 'r.hex',
        mimeType: 'text/plain',
        buffer: Buffer.from(report),
      });
      await heading(page, 'Refused');
      expect(await page.locator('li.fail code').allInnerTexts()).toEqual(['report.vmpl']);
      await page.close();
    });
  });

  test('trusts a development root only when it is told to', async () => {
    const endorser = await makeEndorser('Milan', testEndorserKeys(4096));
    const der = (name: string, bytes: Uint8Array) => ({
      name,
      mimeType: 'application/octet-stream',
      buffer: Buffer.from(bytes),
    });
    const { page } = await open(`${pages.origin}/`);
    await page.getByLabel('At this moment').fill(new Date(day('2026-03-15')).toISOString().slice(0, 19));
    await page.setInputFiles('#picker', [
      der('<img src=x onerror=alert(1)>', await makeReport(endorser.vekKey)),
      der('vcek.der', (await endorser.vek('VCEK')).raw),
      der('ask.der', endorser.ask.raw),
      der('ark.der', endorser.ark.raw),
      der('noise.bin', new Uint8Array(100).fill(7)),
    ]);
    await heading(page, 'Refused');
    expect(await page.locator('li.fail code').allInnerTexts()).toEqual(['endorsement.ark.root']);
    expect(await page.locator('.files li.unknown').innerText()).toMatch(/^noise\.bin – not recognised/);
    expect(await page.locator('img').count()).toBe(0);
    await page.getByLabel('trust a development root').check();
    await heading(page, 'Authentic');
    expect(await page.locator('.root').innerText()).toContain('Vouchsafe Development, Milan – software');
    await page.close();
  });
});
