/** `npm run initrd-part -- FILE`: writes the part of `vouchsafe` that initrds hold, one file that needs Node alone. */
import { writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { bundleGuestPart } from './initrd/guest-part.js';

const [file] = process.argv.slice(2);
if (file === undefined) {
  console.error('usage: npm run initrd-part -- FILE');
  process.exitCode = 2;
} else {
  const bundle = await bundleGuestPart(resolve(import.meta.dirname, '../..'));
  writeFileSync(file, bundle);
  console.log(`${file}, ${Math.round(bundle.length / 1024)} KiB`);
}
