import { existsSync, readdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** What `tools/test` unpacked: packages that are used and not installed. */
export interface DebianKernel {
  /** bzImage. */
  readonly kernel: string;
  /** `lib/modules/VERSION`. */
  readonly modules: string;
  /** Statically linked. */
  readonly busybox: string;
}

export const testCache = () =>
  process.env['VOUCHSAFE_TEST_CACHE'] ?? join(homedir(), '.cache', 'vouchsafe-tests');

/** The kernel of the cache; the name of the package that is missing, where one is. */
export function findDebianKernel(cache = testCache()): DebianKernel | { readonly missing: string } {
  const boot = join(cache, 'guest-kernel', 'boot');
  const image = existsSync(boot) ? readdirSync(boot).find((name) => name.startsWith('vmlinuz-')) : undefined;
  if (image === undefined) return { missing: 'linux-image-cloud-amd64' };
  const version = image.slice('vmlinuz-'.length);
  const busybox = join(cache, 'guest-busybox', 'bin', 'busybox');
  if (!existsSync(busybox)) return { missing: 'busybox-static' };
  const modules = [
    join(cache, 'guest-kernel', 'lib/modules', version),
    join(cache, 'guest-kernel', 'usr/lib/modules', version),
  ];
  const found = modules.find((folder) => existsSync(folder));
  return found === undefined
    ? { missing: 'linux-image-cloud-amd64' }
    : { kernel: join(boot, image), modules: found, busybox };
}
