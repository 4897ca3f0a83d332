import { parseResourcePath } from '@vouchsafe/protocol';
import { toBase64 } from '@vouchsafe/sev';
import { command, type Result } from '../../../frame/command.js';
import { readInput } from '../../../frame/files.js';
import { argument, instant, number, path, required, text } from '../../../frame/options.js';
import { connectBroker } from '../client.js';
import { clientOptions } from '../data-folder.js';
import { secretUrl } from './path.js';

export const put = command({
  description:
    'Stores a new version of a secret. Guests that the release policy lets have it get the newest version that is ' +
    'enabled and valid. The secret is encrypted at rest and never leaves by this interface.',
  arguments: { path: argument('path', 'repository/type/tag') },
  options: {
    from: required(path('--from <file>', 'file with the secret; - is standard input')),
    notBefore: instant('--not-before <date>', 'not released before'),
    notAfter: instant('--not-after <date>', 'not released after'),
    releases: number('--releases <n>', 'released so often at most; 1 for a one-time secret', {
      least: 1,
      most: 1_000_000,
    }),
    policy: text('--policy <name>', 'release policy that decides over it, instead of "default"'),
    ...clientOptions,
  },
  examples: [
    { line: 'broker secret put disks/luks/web1 --from disk.key', explains: 'the key of a disk' },
    {
      line: 'broker secret put web/join/token --from - --releases 1',
      explains: 'from standard input, for one guest only',
    },
  ],
  async run(input, { io }): Promise<Result> {
    const name = parseResourcePath(input.path);
    const broker = await connectBroker(input, io);
    const content = await readInput(input.from, 'secret', io);
    try {
      const { notBefore, notAfter, releases, policy } = input;
      const { version } = await broker.ask<{ version: number }>('PUT', secretUrl(name), {
        content: toBase64(content),
        ...(notBefore === undefined ? {} : { notBefore: new Date(notBefore).toISOString() }),
        ...(notAfter === undefined ? {} : { notAfter: new Date(notAfter).toISOString() }),
        ...(releases === undefined ? {} : { releases }),
        ...(policy === undefined ? {} : { policy }),
      });
      return {
        exit: 0,
        json: { path: input.path, version },
        render: (screen) => screen.line(`Stored ${input.path}, version ${version}`),
      };
    } finally {
      content.fill(0);
    }
  },
});
