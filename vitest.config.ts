import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { configDefaults, defineConfig } from 'vitest/config';
import { SummaryReporter } from './tools/src/summary-reporter.js';
import { SlowFilesFirst } from './tools/src/test-run/slow-files-first.js';

/** Tests run against the TypeScript sources of every package, so that no stale build can pass. */
const conditions = ['vouchsafe-source', 'node', 'import', 'module', 'default'];
/** Handed to the test processes, where `import` would hold for what CommonJS requires too. */
const ssrConditions = conditions.filter((condition) => condition !== 'import');

/** Where `tools/test` wants the counts of the run. */
const summaryFile = process.env['VOUCHSAFE_TEST_SUMMARY'];

/** What would keep the daily run from ending within six minutes on two cores; `npm run test:full` has all of it. */
const onlyInFull = [
  'packages/cli/src/pods-page.test.ts',
  'packages/cli/src/serverless-page.test.ts',
  'packages/cli/src/commands/up/up.test.ts',
  'packages/cli/src/demo/boot/boot.test.ts',
  'packages/cli/src/demo/broker/broker-demo.test.ts',
  'tools/src/bench/index.test.ts',
  'tools/src/broker-load/memory.test.ts',
  'tools/src/broker-load/traces.test.ts',
  'tools/src/initrd/debian-initrd.test.ts',
];

const include = ['packages/*/src/**/*.test.ts', 'tools/src/**/*.test.ts'];
const exclude = [...configDefaults.exclude, ...(process.env['VOUCHSAFE_FULL'] === '1' ? [] : onlyInFull)];

/** Files that replace a module for all that is loaded after it: each needs a process of its own. */
const replacingModules = ['packages', 'tools']
  .flatMap((folder) =>
    readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((name) => join(folder, name)),
  )
  .filter((file) => file.endsWith('.test.ts') && readFileSync(file, 'utf8').includes('vi.mock('));

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions: ssrConditions, externalConditions: ['node', 'import'] } },
  test: {
    // Most files share a process, with the modules that it has loaded: that halves what they cost.
    projects: [
      { extends: true, test: { name: 'isolated', include: replacingModules, exclude, isolate: true } },
      {
        extends: true,
        test: { name: 'shared', include, exclude: [...exclude, ...replacingModules], isolate: false },
      },
    ],
    setupFiles: ['tools/src/test-run/compare-bytes.ts', 'tools/src/test-run/left-behind.ts'],
    sequence: { sequencer: SlowFilesFirst },
    unstubGlobals: true,
    testTimeout: 120_000,
    hookTimeout: 120_000,
    pool: 'forks',
    reporters: [
      process.env['CI'] === 'true' ? 'dot' : 'default',
      ...(summaryFile === undefined ? [] : [new SummaryReporter(summaryFile)]),
    ],
    maxWorkers: 2,
    coverage: { provider: 'v8', include: ['packages/*/src/**'] },
  },
});
