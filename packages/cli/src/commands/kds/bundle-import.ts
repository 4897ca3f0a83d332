import { stat } from 'node:fs/promises';
import {
  createKdsClient,
  endorsementPath,
  importEntries,
  readBundle,
  readTrusteeStore,
} from '@vouchsafe/kds';
import { command, type Result } from '../../frame/command.js';
import { readInput } from '../../frame/files.js';
import { argument } from '../../frame/options.js';
import { cacheFolderFor, keyServiceOptions } from './service.js';
import { titleOf } from './subject.js';

export const bundleImport = command({
  description:
    'Puts the endorsements of a bundle, or of an offline store of Trustee (a folder), into the cache of a key service, ' +
    'where --offline finds them. Every entry is checked first, and nothing is kept of a bundle with a wrong one. ' +
    'Revocation lists that are not current are left out.',
  arguments: { file: argument('file', 'the bundle, or the folder of the store; - is standard input') },
  options: keyServiceOptions,
  examples: [{ line: 'kds bundle import site.json', explains: 'then: report verify … --kds amd --offline' }],
  async run({ file, kds, cache }, { io }): Promise<Result> {
    const client = createKdsClient({
      offline: true,
      cacheFolder: cacheFolderFor({ kds, cache }),
      ...(kds === undefined || kds === 'amd' ? {} : { baseUrl: kds }),
    });
    const isFolder = await stat(file).then(
      (found) => found.isDirectory(),
      () => false,
    );
    const entries = isFolder
      ? await readTrusteeStore(file)
      : await readBundle(await readInput(file, 'bundle', io));
    const { kept, stale } = await importEntries(client, entries, Date.now());
    return {
      exit: 0,
      json: { kept: kept.map(endorsementPath), stale: stale.map(endorsementPath) },
      render(screen) {
        screen.line(`Kept ${kept.length} of ${entries.length} entries`);
        for (const each of kept) screen.line(`  ${titleOf(each)}`);
        for (const each of stale) screen.line(screen.paint('warning', `  Not current: ${titleOf(each)}`));
      },
    };
  },
});
