/** `npm run docs`: writes the pages that come from the code. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { generatedPages, pageText } from './docs/pages.js';

for (const page of generatedPages) {
  mkdirSync(dirname(page.path), { recursive: true });
  writeFileSync(page.path, await pageText(page));
  console.log(page.path);
}
