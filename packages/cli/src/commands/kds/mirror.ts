import { createMirror, serveKds } from '@vouchsafe/kds';
import { command, type Result } from '../../frame/command.js';
import { flag, number, text, withDefault } from '../../frame/options.js';
import { untilStopped } from '../stay.js';
import { cacheFolderFor, keyServiceOptions } from './service.js';

export const mirror = command({
  description:
    'Serves what AMD’s key service answered, under AMD’s paths, to a fleet and to web pages of any origin. What is ' +
    'missing is fetched, checked and kept; revocation lists are kept until their next update. It passes on no more ' +
    'questions than --per-minute, and none that AMD’s service does not answer. Everything it serves is public.',
  arguments: {},
  options: {
    ...keyServiceOptions,
    offline: flag('--offline', 'a promise: no network; only what the cache holds is served'),
    perMinute: withDefault(
      number('--per-minute <n>', 'questions to pass on in a minute', { least: 1, most: 6000 }),
      30,
    ),
    host: withDefault(text('--host <address>', 'address to listen on'), '127.0.0.1'),
    port: withDefault(number('--port <n>', 'port to listen on; 0 takes a free one', { most: 65535 }), 0),
  },
  examples: [
    {
      line: 'kds mirror --host 0.0.0.0 --port 8080',
      explains: 'for a fleet: --kds http://this-machine:8080',
    },
    { line: 'kds mirror --offline --port 8080', explains: 'after `kds bundle import`, without a network' },
  ],
  async run({ kds, cache, offline, perMinute, host, port }): Promise<Result> {
    const cacheFolder = cacheFolderFor({ kds, cache });
    const source = createMirror({
      cacheFolder,
      offline,
      missesPerMinute: perMinute,
      ...(kds === undefined || kds === 'amd' ? {} : { baseUrl: kds }),
    });
    const server = await serveKds(source, { host, port, browsers: true });
    const upstream = offline ? null : (kds ?? 'amd');
    return {
      exit: 0,
      json: { url: server.url, upstream, cache: cacheFolder },
      render(screen) {
        screen.line(`Mirror of ${upstream === null ? 'a cache, offline,' : upstream} on ${server.url}`);
        screen.line(`Its answers are kept in ${cacheFolder}`);
      },
      stay: (stop) => untilStopped(stop, () => server.close()),
    };
  },
});
