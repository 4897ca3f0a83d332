import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { importsOf, type SourceImport } from './source-imports.js';

export interface Manifest {
  readonly name: string;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
  readonly imports?: Readonly<Record<string, unknown>>;
}

export interface SourceFile {
  /** From the root of the tree, with forward slashes: `packages/host/src/index.ts`. */
  readonly path: string;
  /** Tests and what only tests use: they wire roles together, so the table of roles does not bind them. */
  readonly isTest: boolean;
  readonly imports: readonly SourceImport[];
}

export interface WorkspacePackage {
  /** Name of the folder: `host`. */
  readonly role: string;
  /** From the root of the tree: `packages/host`. */
  readonly folder: string;
  readonly manifest: Manifest;
  readonly files: readonly SourceFile[];
}

export interface Workspace {
  readonly manifest: Manifest;
  readonly packages: readonly WorkspacePackage[];
}

/** Reads every package of the tree, and `tools`. */
export function readWorkspace(root: string): Workspace {
  const folders = readdirSync(join(root, 'packages')).map((role) => `packages/${role}`);
  if (existsSync(join(root, 'tools', 'package.json'))) folders.push('tools');
  const packages = folders
    .filter((folder) => existsSync(join(root, folder, 'package.json')))
    .sort()
    .map((folder) => ({
      role: folder.slice(folder.lastIndexOf('/') + 1),
      folder,
      manifest: readManifest(join(root, folder)),
      files: sourcesBelow(root, join(root, folder, 'src')),
    }));
  return { manifest: readManifest(root), packages };
}

function readManifest(folder: string): Manifest {
  return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Manifest;
}

function sourcesBelow(root: string, folder: string): SourceFile[] {
  if (!existsSync(folder)) return [];
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) =>
    /\.[cm]?tsx?$/.test(name),
  );
  return names.sort().map((name) => {
    const file = join(folder, name);
    const path = relative(root, file).split(sep).join('/');
    return { path, isTest: isTestPath(path), imports: importsOf(file, readFileSync(file, 'utf8')) };
  });
}

export function isTestPath(path: string): boolean {
  return /\.test\.[cm]?tsx?$/.test(path) || path.includes('/testing/');
}
