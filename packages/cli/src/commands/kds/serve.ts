import { join } from 'node:path';
import { openDevelopmentAuthority, serveKds } from '@vouchsafe/kds';
import { generations } from '@vouchsafe/sev';
import { command, type Result } from '../../frame/command.js';
import { choice, number, path, required, text, withDefault } from '../../frame/options.js';
import { untilStopped } from '../stay.js';

export const serve = command({
  description:
    'Serves the certificates of a development authority under AMD’s paths, on loopback. The authority is made in the ' +
    'folder at first; its root names itself “Vouchsafe Development” and is trusted only where --root names it.',
  arguments: {},
  options: {
    authority: required(path('--authority <dir>', 'folder of the authority and its private keys')),
    generation: withDefault(
      choice('--generation <name>', 'whose form the certificates have', generations),
      'milan',
    ),
    host: withDefault(text('--host <address>', 'address to listen on'), '127.0.0.1'),
    port: withDefault(number('--port <n>', 'port to listen on; 0 takes a free one', { most: 65535 }), 0),
  },
  examples: [{ line: 'kds serve --authority .vouchsafe/authority --port 8080', explains: 'until Ctrl-C' }],
  async run({ authority: folder, generation, host, port }, { progress }): Promise<Result> {
    progress.step('opening the authority');
    const authority = await openDevelopmentAuthority({ folder, generation });
    const server = await serveKds(authority, { host, port });
    const ark = join(folder, generation, 'ark.cert');
    return {
      exit: 0,
      json: { url: server.url, root: authority.root.name, ark },
      render(screen) {
        screen.line(`${screen.paint('warning', authority.root.name)} on ${server.url}`);
        screen.line(`Trust it with --root ${ark}`);
      },
      stay: (stop) => untilStopped(stop, () => server.close()),
    };
  },
});
