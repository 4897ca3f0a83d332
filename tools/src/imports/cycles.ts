import { posix } from 'node:path';
import type { WorkspacePackage } from './workspace.js';

/**
 * Circles of imports inside one package, as the program runs: which file of a circle is ready when depends on who asked
 * first. Types may refer to each other. One circle is given for each knot.
 */
export function findCycles(owner: WorkspacePackage): string[][] {
  const paths = new Set(owner.files.map((file) => file.path));
  const targets = new Map(
    owner.files.map((file) => [
      file.path,
      file.imports
        .filter((each) => !each.typeOnly)
        .flatMap(({ specifier }) => targetsOf(specifier, file.path, owner))
        .filter((path) => paths.has(path)),
    ]),
  );

  const cycles: string[][] = [];
  const done = new Set<string>();
  const trail: string[] = [];
  function walk(path: string): void {
    const at = trail.indexOf(path);
    if (at >= 0) {
      cycles.push(trail.slice(at));
      return;
    }
    if (done.has(path)) return;
    trail.push(path);
    for (const next of targets.get(path) ?? []) walk(next);
    trail.pop();
    done.add(path);
  }
  for (const path of paths) walk(path);
  return cycles;
}

function targetsOf(specifier: string | undefined, from: string, owner: WorkspacePackage): string[] {
  if (specifier === undefined) return [];
  if (specifier.startsWith('#')) {
    return leaves(owner.manifest.imports?.[specifier])
      .filter((leaf) => leaf.endsWith('.ts'))
      .map((leaf) => posix.join(owner.folder, leaf));
  }
  if (!specifier.startsWith('.')) return [];
  return [posix.join(posix.dirname(from), specifier).replace(/\.js$/, '.ts')];
}

/** The file names that the conditions of an "imports" entry lead to. */
function leaves(entry: unknown): string[] {
  if (typeof entry === 'string') return [entry];
  return typeof entry === 'object' && entry !== null ? Object.values(entry).flatMap(leaves) : [];
}
