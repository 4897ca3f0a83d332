import { command, type Result } from '../../../frame/command.js';
import { harmless } from '../../../frame/screen.js';
import { connectBroker } from '../client.js';
import { clientOptions } from '../data-folder.js';
import type { SecretAnswer } from './path.js';

export const list = command({
  description: 'Lists the secrets of a broker: their names, versions and limits, never their content.',
  arguments: {},
  options: clientOptions,
  examples: [{ line: 'broker secret list', explains: 'of the broker in .vouchsafe/broker' }],
  async run(input, { io }): Promise<Result> {
    const broker = await connectBroker(input, io);
    const secrets = await broker.ask<SecretAnswer[]>('GET', '/secrets');
    return {
      exit: 0,
      json: secrets,
      render(screen) {
        if (secrets.length === 0) {
          screen.line('no secrets; `vouchsafe broker secret put` stores one');
          return;
        }
        screen.table(
          ['path', 'state', 'policy', 'versions'],
          secrets.map(({ path, state, policy, versions }) => [
            harmless(path),
            state,
            policy ?? 'default',
            versions.map(versionText).join('; '),
          ]),
        );
      },
    };
  },
});

function versionText(version: SecretAnswer['versions'][number]): string {
  const { notBefore, notAfter, releaseLimit, released } = version;
  const facts = [
    ...(version.state === 'enabled' ? [] : [version.state]),
    ...(notBefore === undefined ? [] : [`from ${notBefore}`]),
    ...(notAfter === undefined ? [] : [`until ${notAfter}`]),
    ...(releaseLimit === undefined ? [] : [`${released} of ${releaseLimit} released`]),
  ];
  return `${version.version}${facts.length === 0 ? '' : ` (${facts.join(', ')})`}`;
}
