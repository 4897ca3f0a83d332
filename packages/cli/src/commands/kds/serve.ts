import { join } from 'node:path';
import { openDevelopmentAuthority, serveKds } from '@vouchsafe/kds';
import { generations } from '@vouchsafe/sev';
import { command, type Result } from '../../frame/command.js';
import { choice, number, path, required, text, withDefault } from '../../frame/options.js';
import { untilStopped } from '../stay.js';

export const serve = command({
  description:
    'Serves the certificates of a development authority under AMD’s paths, on loopback: for SEV and SEV-ES, and from ' +
    'Milan on the X.509 certificates and revocation lists of SEV-SNP. The authority is made in the ' +
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
    const server = await serveKds(authority, { host, port, browsers: true });
    const ark = join(folder, generation, 'ark.cert');
    const snpArk = authority.snp === undefined ? null : join(folder, generation, 'ark.der');
    return {
      exit: 0,
      json: { url: server.url, root: authority.root.name, ark, snpArk },
      render(screen) {
        screen.line(`${screen.paint('warning', authority.root.name)} on ${server.url}`);
        screen.line(`Trust it with --root ${ark}`);
        if (snpArk !== null) screen.line(`For SEV-SNP: --root ${snpArk}`);
      },
      stay: (stop) => untilStopped(stop, () => server.close()),
    };
  },
});
