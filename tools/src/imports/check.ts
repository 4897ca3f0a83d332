import { isBuiltin } from 'node:module';
import { posix } from 'node:path';
import { findCycles } from './cycles.js';
import type { SourceImport } from './source-imports.js';
import { importTable, type PackageRule } from './table.js';
import {
  isTestPath,
  type Manifest,
  readWorkspace,
  type SourceFile,
  type WorkspacePackage,
} from './workspace.js';

/** A broken rule, with the place where it is broken. */
export interface ImportProblem {
  /** `packages/host/src/index.ts:3`, or the path of a manifest. */
  readonly where: string;
  readonly message: string;
}

/** Checks the imports and the manifests of the tree at `root` against the table. */
export function checkImports(root: string): ImportProblem[] {
  const workspace = readWorkspace(root);
  return workspace.packages.flatMap((each) => {
    const rule = importTable[each.role];
    if (rule === undefined) {
      const message = `${each.role} is not in the import table: say in tools/src/imports/table.ts what it may import, and why`;
      return [{ where: `${each.folder}/package.json`, message }];
    }
    return [
      ...each.files.flatMap((file) => checkFile(file, each, rule, workspace.manifest)),
      ...checkManifest(each, rule),
      ...findCycles(each).map((cycle) => ({
        where: cycle[0]!,
        message: `files import each other in a circle: ${[...cycle, cycle[0]].join(' → ')}. Move what they share into a file of its own`,
      })),
    ];
  });
}

function checkFile(
  file: SourceFile,
  owner: WorkspacePackage,
  rule: PackageRule,
  root: Manifest,
): ImportProblem[] {
  return file.imports.flatMap((each) => {
    const message = problemOf(each, file, owner, rule, root);
    return message === undefined ? [] : [{ where: `${file.path}:${each.line}`, message }];
  });
}

function problemOf(
  { specifier }: SourceImport,
  file: SourceFile,
  owner: WorkspacePackage,
  rule: PackageRule,
  root: Manifest,
): string | undefined {
  if (specifier === undefined) {
    return file.isTest ? undefined : 'imports a computed name, which no check can follow. Write the name out';
  }
  if (specifier.startsWith('.') || specifier.startsWith('/')) return relativeProblem(specifier, file, owner);
  if (specifier.startsWith('#')) {
    return owner.manifest.imports?.[specifier] === undefined
      ? `imports ${specifier}, which the "imports" of ${owner.folder}/package.json do not name`
      : undefined;
  }
  if (isBuiltin(specifier)) return nodeProblem(specifier, file, owner, rule);
  if (specifier.startsWith('@vouchsafe/')) return roleProblem(specifier, file, owner, rule);
  return dependencyProblem(specifier, file, owner, root);
}

/** The table proper. Tests wire several roles together, so it does not bind them. */
function roleProblem(
  specifier: string,
  file: SourceFile,
  owner: WorkspacePackage,
  rule: PackageRule,
): string | undefined {
  if (specifier === owner.manifest.name)
    return `imports its own package ${specifier} by name. Import the file that has it`;
  if (file.isTest || rule.mayImport.includes(specifier)) return undefined;
  const allowed = rule.mayImport.length === 0 ? 'no package of ours' : `only ${rule.mayImport.join(', ')}`;
  return `${owner.role} imports ${specifier}, but it may import ${allowed}: ${rule.why}`;
}

/** A test may borrow other packages' test helpers, which no package exports, and what tools start, which nobody publishes. */
function relativeProblem(specifier: string, file: SourceFile, owner: WorkspacePackage): string | undefined {
  const target = posix.normalize(posix.join(posix.dirname(file.path), specifier));
  if (specifier.startsWith('/') || !target.startsWith(`${owner.folder}/src/`)) {
    if (file.isTest && /^(?:packages\/[^/]+\/src\/(?:.+\/)?testing|tools\/src)\//.test(target))
      return undefined;
    const how = file.isTest
      ? 'Import the package by name; only tools and test helpers under src/testing/ may be borrowed'
      : 'Import the package by name, if the table allows it';
    return `imports ${specifier}, which leaves ${owner.folder}/src. ${how}`;
  }
  if (!file.isTest && isTestPath(target.replace(/\.js$/, '.ts'))) {
    return `imports ${specifier}, which only tests may use and which is not published`;
  }
  return undefined;
}

function nodeProblem(
  specifier: string,
  file: SourceFile,
  owner: WorkspacePackage,
  rule: PackageRule,
): string | undefined {
  if (!specifier.startsWith('node:'))
    return `imports ${specifier}. Write node:${specifier}, which no package can shadow`;
  if (file.isTest || rule.nodeModules === 'yes') return undefined;
  const inside = file.path.slice(owner.folder.length + 1);
  if (rule.nodeModules.includes(inside)) return undefined;
  const allowed = rule.nodeModules.length === 0 ? 'nowhere' : `only in ${rule.nodeModules.join(', ')}`;
  return `${owner.role} imports ${specifier}, but Node's modules may be imported ${allowed} there: ${rule.why}`;
}

function dependencyProblem(
  specifier: string,
  file: SourceFile,
  owner: WorkspacePackage,
  root: Manifest,
): string | undefined {
  const name = packageName(specifier);
  const manifests = file.isTest || owner.role === 'tools' ? [owner.manifest, root] : [owner.manifest];
  const declared = manifests.some((each) => each.dependencies?.[name] ?? each.devDependencies?.[name]);
  return declared
    ? undefined
    : `imports ${name}, which the dependencies of ${owner.folder}/package.json do not name`;
}

/** A manifest promises to its readers what the sources do: nothing forbidden, nothing unused, nothing floating. */
function checkManifest(owner: WorkspacePackage, rule: PackageRule): ImportProblem[] {
  const where = `${owner.folder}/package.json`;
  const allowed = new Set(rule.mayImport.map(packageName));
  const used = new Set(
    owner.files.flatMap((file) => file.imports.map((each) => packageName(each.specifier ?? ''))),
  );
  return Object.entries(owner.manifest.dependencies ?? {}).flatMap(([name, version]) => {
    const problems: ImportProblem[] = [];
    if (name.startsWith('@vouchsafe/') && !allowed.has(name)) {
      problems.push({
        where,
        message: `${owner.role} depends on ${name}, which it must not import: ${rule.why}`,
      });
    } else if (!used.has(name)) {
      problems.push({ where, message: `depends on ${name}, which no file of it imports` });
    }
    if (!/^\d+\.\d+\.\d+(?:-[\w.]+)?$/.test(version)) {
      problems.push({ where, message: `depends on ${name} ${version}. Name one exact version` });
    }
    return problems;
  });
}

/** `@scope/name` or `name`, without a subpath. */
function packageName(specifier: string): string {
  return specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
}
