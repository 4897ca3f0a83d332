import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';

export interface KernelModule {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/**
 * Modules with all that they depend on, each behind what it needs: an order to load them in. What they need stands in
 * the modules themselves (`depends=` in the section .modinfo), because a package that was only unpacked has no index.
 * Names that the folder does not have are built into the kernel and passed over.
 * @param folder `lib/modules/VERSION`
 */
export function modulesInOrder(folder: string, names: readonly string[]): KernelModule[] {
  const files = new Map(
    readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.ko'))
      .map((path) => [moduleName(path), join(folder, path)]),
  );
  const order = new Map<string, KernelModule>();
  const add = (name: string) => {
    const file = files.get(name);
    if (file === undefined || order.has(name)) return;
    const bytes = new Uint8Array(readFileSync(file));
    for (const needed of dependsOf(bytes)) add(needed);
    order.set(name, { name, bytes });
  };
  for (const name of names) add(moduleName(name));
  return [...order.values()];
}

/** File names and names in `depends=` use hyphens and underscores as they like. */
const moduleName = (path: string) => basename(path, '.ko').replaceAll('-', '_');

function dependsOf(module: Uint8Array): string[] {
  const [, list = ''] = /\0depends=([^\0]*)\0/.exec(Buffer.from(module).toString('latin1')) ?? [];
  return list
    .split(',')
    .filter((name) => name !== '')
    .map(moduleName);
}
