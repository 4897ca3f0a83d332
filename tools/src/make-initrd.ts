/** `npm run initrd -- FILE`: writes the initrd of the demo's machine, for the kernel that `tools/test` unpacked. */
import { writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { buildInitrd } from './initrd/build-initrd.js';
import { findDebianKernel } from './initrd/debian-kernel.js';

const [file] = process.argv.slice(2);
const found = findDebianKernel();
if (file === undefined || 'missing' in found) {
  console.error(
    file === undefined
      ? 'usage: npm run initrd -- FILE'
      : `not unpacked: ${'missing' in found ? found.missing : ''}`,
  );
  process.exitCode = 2;
} else {
  const initrd = await buildInitrd({ root: resolve(import.meta.dirname, '../..'), ...found });
  writeFileSync(file, initrd);
  console.log(`${file}, ${Math.round(initrd.length / 1024 / 1024)} MiB, for ${found.kernel}`);
}
