import { spawn } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import ts from 'typescript';
import { type CheckSite, switchedOff } from './find.js';

export type Outcome = 'noticed' | 'survived' | 'timeout';

/** A copy of the tree in which one check at a time is switched off. The tree itself is never touched. */
export class Workbench {
  readonly #tree: string;
  readonly #folder: string;

  constructor(tree: string) {
    this.#tree = resolve(tree);
    this.#folder = mkdtempSync(join(tmpdir(), 'vouchsafe-disable-checks-'));
    const left = new Set(['node_modules', '.git', 'coverage']);
    cpSync(this.#tree, this.#folder, { recursive: true, filter: (path) => !left.has(basename(path)) });
    this.#linkDependencies();
  }

  /** Others' packages are linked to the tree's; ours must be the copies, or no change here would be seen. */
  #linkDependencies(): void {
    const modules = join(this.#folder, 'node_modules');
    const links = [...readdirSync(join(this.#folder, 'packages')).map((name) => `packages/${name}`), 'tools'];
    mkdirSync(join(modules, '@vouchsafe'), { recursive: true });
    for (const path of links)
      symlinkSync(join(this.#folder, path), join(modules, '@vouchsafe', basename(path)));
    for (const name of readdirSync(join(this.#tree, 'node_modules'))) {
      if (name === '@vouchsafe' || name.startsWith('.')) continue;
      symlinkSync(join(this.#tree, 'node_modules', name), join(modules, name));
    }
    mkdirSync(join(modules, '.bin'));
    symlinkSync('../@vouchsafe/cli/bin/vouchsafe.js', join(modules, '.bin', 'vouchsafe'));
  }

  /** Switches the check off, runs `work`, and switches it on again. The build output follows, for tests that start the command. */
  async without<T>(site: CheckSite, work: () => Promise<T>): Promise<T> {
    const file = join(this.#folder, site.path);
    const text = readFileSync(file, 'utf8');
    this.#write(site.path, switchedOff(text, site));
    try {
      return await work();
    } finally {
      this.#write(site.path, text);
    }
  }

  #write(path: string, text: string): void {
    writeFileSync(join(this.#folder, path), text);
    const built = join(this.#folder, path.replace('/src/', '/dist/').replace(/\.ts$/, '.js'));
    if (!existsSync(dirname(built))) return;
    const compilerOptions = {
      module: ts.ModuleKind.ESNext,
      target: ts.ScriptTarget.ES2023,
      verbatimModuleSyntax: true,
    };
    writeFileSync(built, ts.transpileModule(text, { compilerOptions }).outputText);
  }

  has(path: string): boolean {
    return existsSync(join(this.#folder, path));
  }

  /**
   * Runs vitest here. Tests of the tools are left out: they compare generated pages with declarations, and would notice
   * any change of those without any test of what it does.
   */
  vitest(options: readonly string[], timeoutMs: number): Promise<Outcome> {
    const vitest = join(this.#folder, 'node_modules/vitest/vitest.mjs');
    const vectors = process.env['VOUCHSAFE_VECTORS'] ?? resolve(this.#tree, '../shared/vectors');
    return new Promise((done, fail) => {
      const child = spawn(
        process.execPath,
        [vitest, ...options, '--bail=1', '--exclude=tools/**', '--passWithNoTests'],
        {
          cwd: this.#folder,
          env: { ...process.env, VOUCHSAFE_VECTORS: vectors },
          stdio: 'ignore',
          detached: true,
        },
      );
      let late = false;
      const timer = setTimeout(() => {
        late = true;
        process.kill(-child.pid!, 'SIGKILL');
      }, timeoutMs);
      child.on('error', fail);
      child.on('exit', (code) => {
        clearTimeout(timer);
        if (!existsSync(vitest)) {
          fail(new Error(`${this.#folder} was removed while it was in use: this result says nothing`));
          return;
        }
        done(late ? 'timeout' : code === 0 ? 'survived' : 'noticed');
      });
    });
  }

  close(): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
