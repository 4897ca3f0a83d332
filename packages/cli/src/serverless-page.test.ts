import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { openDevelopmentAuthority } from '@vouchsafe/kds';
import { testAuthorityKeys } from '../../kds/src/testing/authority-keys.js';
import { describeConsolePage } from './testing/console-page.js';
import { freePort, repository } from './testing/process.js';

let text = readFileSync(join(repository, 'docs/serverless.md'), 'utf8');
/** The page names ports; here they are free ones. */
for (const port of ['18080', '18081']) text = text.replaceAll(port, String(await freePort()));

describeConsolePage('docs/serverless.md, run', {
  text,
  prepare: (folder) =>
    openDevelopmentAuthority({
      folder: join(folder, 'authority'),
      generation: 'milan',
      generateKeys: testAuthorityKeys,
    }),
});
