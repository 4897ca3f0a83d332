import { existsSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { build, type Metafile } from 'esbuild';
import { type Browser, chromium } from 'playwright-core';
import { describe, test } from 'vitest';

const executablePath = '/usr/bin/chromium';

/** A `describe` for what a real browser runs. Without it, one test is skipped and names the Debian package. */
export function describeWithChromium(title: string, tests: () => void): void {
  if (existsSync(executablePath)) describe(title, tests);
  else
    describe(title, () =>
      test('in Chromium', ({ skip }) => skip(`no ${executablePath}: install Debian’s package chromium`)),
    );
}

/** A headless Chromium that asks nothing of the network. The caller closes it. */
export async function openChromium(): Promise<Browser> {
  return chromium.launch({
    executablePath,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
}

/** One file for a browser, from TypeScript sources. It cannot be made when anything in it needs Node. */
export async function bundleForBrowsers(
  entry: string,
): Promise<{ text: string; inputs: Metafile['inputs'] }> {
  const { outputFiles, metafile } = await build({
    entryPoints: [entry],
    bundle: true,
    write: false,
    metafile: true,
    platform: 'browser',
    format: 'esm',
    target: 'es2022',
    conditions: ['vouchsafe-source'],
    logLevel: 'silent',
  });
  return { text: outputFiles[0]!.text, inputs: metafile.inputs };
}

export interface Pages {
  readonly origin: string;
  close(): Promise<void>;
}

/** Serves texts on loopback: WebCrypto is there for `https` and for this machine only. */
export async function servePages(
  pages: Readonly<Record<string, readonly [type: string, text: string]>>,
): Promise<Pages> {
  const server = createServer((request, response) => {
    const [type, text] = pages[request.url ?? '/'] ?? ['text/plain', undefined];
    response.writeHead(text === undefined ? 404 : 200, { 'content-type': `${type}; charset=utf-8` });
    response.end(text);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    origin: `http://127.0.0.1:${port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
