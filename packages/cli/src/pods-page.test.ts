import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { openDevelopmentAuthority } from '@vouchsafe/kds';
import { initDataDigest, initDataText } from '@vouchsafe/protocol';
import { toHex } from '@vouchsafe/sev';
import { expect, it } from 'vitest';
import { makeOciImage } from '../../guest/src/testing/oci-image.js';
import { testAuthorityKeys } from '../../kds/src/testing/authority-keys.js';
import { describeConsolePage } from './testing/console-page.js';
import { freePort, repository } from './testing/process.js';

const page = readFileSync(join(repository, 'docs/pods.md'), 'utf8');
/** The digest of the settings depends on the broker's port, which is a free one here. */
let text = page.replaceAll(/\b[0-9a-f]{64}\b/g, '…');
for (const port of ['18080', '18081', '18082']) text = text.replaceAll(port, String(await freePort()));

it('docs/pods.md shows the digest of its settings', async () => {
  const settings = initDataText({
    'aa.toml': '[token_configs.kbs]\nurl = "http://127.0.0.1:18080"\n',
    'policy.rego': 'package agent_policy\ndefault CreateContainerRequest := false\n',
  });
  const shown = page.match(/\b[0-9a-f]{64}\b/g) ?? [];
  expect([...new Set(shown)]).toEqual([toHex(await initDataDigest(settings))]);
});

describeConsolePage('docs/pods.md, run', {
  text,
  async prepare(folder) {
    const layers = ['the lower layer', 'the upper layer'].map((content) => new TextEncoder().encode(content));
    makeOciImage(join(folder, 'web'), { layers, name: '1.0' });
    await openDevelopmentAuthority({
      folder: join(folder, 'authority'),
      generation: 'milan',
      generateKeys: testAuthorityKeys,
    });
  },
});
