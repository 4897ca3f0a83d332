import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { checkImports } from './check.js';
import { runImportCheck } from './run.js';

const repository = resolve(import.meta.dirname, '../../..');
const folders: string[] = [];

afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

/** A tree of the given files; a package's manifest names what its sources import unless it is given. */
function tree(files: Record<string, string>): string {
  const root = mkdtempSync(join(tmpdir(), 'vouchsafe-imports-'));
  folders.push(root);
  const write = (path: string, text: string) => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  };
  write('package.json', JSON.stringify({ name: 'root', devDependencies: { vitest: '4.1.12' } }));
  for (const role of new Set(Object.keys(files).map((path) => path.split('/')[1]!))) {
    write(`packages/${role}/package.json`, JSON.stringify({ name: `@vouchsafe/${role}` }));
  }
  for (const [path, text] of Object.entries(files)) write(path, text);
  return root;
}

const problems = (files: Record<string, string>) =>
  checkImports(tree(files)).map((each) => `${each.where}: ${each.message}`);

describe('the import table', () => {
  it('holds in this tree', () => {
    expect(checkImports(repository)).toEqual([]);
  });

  it('is part of npm run check', () => {
    const { scripts } = JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8'));
    expect(scripts.check).toContain('npm run check:imports');
    expect(scripts['check:imports']).toBe('node tools/dist/check-imports.js');
  });

  it.each([
    ['static', (name: string) => `import { x } from '${name}';\nx();`],
    ['type-only', (name: string) => `import type { X } from '${name}';\nexport type Y = X;`],
    ['re-export', (name: string) => `export * from '${name}';`],
    ['type re-export', (name: string) => `export type { X } from '${name}';`],
    ['dynamic', (name: string) => `export const x = () => import('${name}');`],
    ['in a type', (name: string) => `export type X = import('${name}').X;`],
    ['required', (name: string) => `import x = require('${name}');\nexport { x };`],
    ['resolved', (name: string) => `export const x = import.meta.resolve('${name}');`],
    ['resolved by require', (name: string) => `export const x = require.resolve('${name}');`],
  ])('refuses that host reaches the broker or the guest side: %s import', (_kind, source) => {
    for (const name of [
      '@vouchsafe/broker',
      '@vouchsafe/firmware/guest-view',
      '@vouchsafe/firmware',
      '@vouchsafe/guest',
    ]) {
      const printed: string[] = [];
      const root = tree({ 'packages/host/src/deep/x.ts': `// first line\n${source(name)}\n` });
      expect(runImportCheck(root, (line) => printed.push(line))).toBe(1);
      expect(printed[0]).toContain(
        `packages/host/src/deep/x.ts:2: host imports ${name}, but it may import only @vouchsafe/sev,`,
      );
      expect(printed[0]).toContain('hostile by assumption');
    }
  });

  it('lets host see the mailbox', () => {
    const root = tree({
      'packages/host/package.json':
        '{"name":"@vouchsafe/host","dependencies":{"@vouchsafe/firmware":"0.1.0"}}',
      'packages/host/src/x.ts': `import type { HostMachine } from '@vouchsafe/firmware/mailbox';\nexport type M = HostMachine;`,
    });
    const printed: string[] = [];
    expect(runImportCheck(root, (line) => printed.push(line))).toBe(0);
  });

  it('refuses a computed import', () => {
    expect(
      problems({ 'packages/host/src/x.ts': 'export const x = (name: string) => import(name);' }),
    ).toEqual([expect.stringContaining('packages/host/src/x.ts:1: imports a computed name')]);
  });

  it('refuses a relative import that leaves the package', () => {
    const source = `export * from '../../broker/src/index.js';`;
    expect(problems({ 'packages/host/src/x.ts': source })).toEqual([
      expect.stringContaining('leaves packages/host/src'),
    ]);
    expect(problems({ 'packages/host/src/x.test.ts': source })).toEqual([
      expect.stringContaining('leaves packages/host/src'),
    ]);
  });

  it('lets tests wire roles together and borrow test helpers, and nothing else use those', () => {
    const test = `import '@vouchsafe/broker';\nimport '../../sev/src/testing/vectors.js';\nimport 'vitest';\nimport 'node:fs';`;
    expect(
      problems({ 'packages/host/src/x.test.ts': test, 'packages/sev/src/testing/y.ts': `import 'node:fs';` }),
    ).toEqual([]);
    expect(problems({ 'packages/host/src/x.ts': `import './testing/y.js';` })).toEqual([
      expect.stringContaining('only tests'),
    ]);
    expect(problems({ 'packages/host/src/x.ts': `import './y.test.js';` })).toEqual([
      expect.stringContaining('only tests'),
    ]);
  });

  it('keeps the ground floor free of Node, but for its crypto port', () => {
    expect(problems({ 'packages/sev/src/x.ts': `import 'node:crypto';` })).toEqual([
      expect.stringContaining('browsers'),
    ]);
    expect(problems({ 'packages/protocol/src/x.ts': `import 'node:fs';` })).toEqual([
      expect.stringContaining('nowhere'),
    ]);
    expect(problems({ 'packages/sev/src/crypto/node.ts': `import 'node:crypto';` })).toEqual([]);
    expect(problems({ 'packages/kds/src/x.ts': `import 'fs';` })).toEqual([
      expect.stringContaining('node:fs'),
    ]);
  });

  it('refuses a package that the table does not know', () => {
    expect(problems({ 'packages/shortcut/src/x.ts': '' })).toEqual([
      expect.stringContaining('not in the import table'),
    ]);
  });

  it('holds manifests to the table, to the sources and to exact versions', () => {
    const manifest = (dependencies: object) => JSON.stringify({ name: '@vouchsafe/host', dependencies });
    const host = (dependencies: object, source = '') =>
      problems({ 'packages/host/package.json': manifest(dependencies), 'packages/host/src/x.ts': source });
    expect(host({ '@vouchsafe/broker': '0.1.0' })).toEqual([
      expect.stringContaining('depends on @vouchsafe/broker, which it must not'),
    ]);
    expect(host({ zod: '4.6.7' })).toEqual([expect.stringContaining('no file of it imports')]);
    expect(host({ zod: '^4.6.7' }, `import 'zod';`)).toEqual([expect.stringContaining('exact version')]);
    expect(host({}, `import 'zod/v4';`)).toEqual([
      expect.stringContaining('imports zod, which the dependencies'),
    ]);
    expect(host({ zod: '4.6.7' }, `import 'zod/v4';`)).toEqual([]);
  });

  it('refuses circles, through the imports field too, but not those of types', () => {
    const circle = problems({
      'packages/kds/src/a.ts': `import './b.js';`,
      'packages/kds/src/b.ts': `export { c } from './c.js';`,
      'packages/kds/src/c.ts': `import { a } from './a.js';\nexport const c = a;`,
    });
    expect(circle).toEqual([
      expect.stringContaining(
        'packages/kds/src/a.ts → packages/kds/src/b.ts → packages/kds/src/c.ts → packages/kds/src/a.ts',
      ),
    ]);
    const types = problems({
      'packages/kds/src/a.ts': `import { type X, b } from './b.js';\nexport type A = X;`,
      'packages/kds/src/b.ts': `import type { A } from './a.js';\nexport type { A } from './a.js';\nexport type X = import('./a.js').A;`,
    });
    expect(types).toEqual([]);
    const throughField = problems({
      'packages/kds/package.json':
        '{"name":"@vouchsafe/kds","imports":{"#x":{"vouchsafe-source":"./src/x.ts","default":"./dist/x.js"}}}',
      'packages/kds/src/x.ts': `import './y.js';`,
      'packages/kds/src/y.ts': `import '#x';`,
    });
    expect(throughField).toEqual([expect.stringContaining('circle')]);
  });
});
