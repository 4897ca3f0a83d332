/** `npm run page`: writes packages/page/dist/verify.html, which needs nothing beside it. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { buildPage } from './page/build-page.js';

const root = resolve(import.meta.dirname, '../..');
const folder = join(root, 'packages/page/dist');
const page = await buildPage(root);
mkdirSync(folder, { recursive: true });
writeFileSync(join(folder, 'verify.html'), page);
console.log(`packages/page/dist/verify.html, ${Math.round(Buffer.byteLength(page) / 1024)} KiB`);
