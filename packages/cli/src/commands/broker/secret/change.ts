import { parseResourcePath } from '@vouchsafe/protocol';
import { InvalidArgumentError } from '@vouchsafe/sev';
import { command, type Result } from '../../../frame/command.js';
import { argument, flag, number, text } from '../../../frame/options.js';
import { connectBroker } from '../client.js';
import { clientOptions } from '../data-folder.js';
import { secretUrl } from './path.js';

const pathArgument = { path: argument('path', 'repository/type/tag') };
const versionOption = {
  version: number('--secret-version <n>', 'this version only; without it, all', { least: 1, most: 2 ** 31 }),
};

const switched = (state: 'enabled' | 'disabled', description: string, word: string) =>
  command({
    description,
    arguments: pathArgument,
    options: { ...versionOption, ...clientOptions },
    examples: [{ line: `broker secret ${word} disks/luks/web1`, explains: 'all of its versions' }],
    async run(input, { io }): Promise<Result> {
      const { path, version } = input;
      const url = secretUrl(parseResourcePath(path));
      const change = { state, ...(version === undefined ? {} : { version }) };
      await (await connectBroker(input, io)).ask('PATCH', url, change);
      const what = version === undefined ? path : `version ${version} of ${path}`;
      return { exit: 0, json: { path, ...change }, render: (screen) => screen.line(`${what} is ${state}`) };
    },
  });

export const enable = switched(
  'enabled',
  'Lets a disabled secret, or a version of it, be released again.',
  'enable',
);
export const disable = switched(
  'disabled',
  'Keeps a secret, or a version of it, from being released.',
  'disable',
);

export const remove = command({
  description: 'Destroys the content of a secret, or of one version. It cannot be brought back.',
  arguments: pathArgument,
  options: {
    ...versionOption,
    force: flag('--force', 'destroy all versions, as no version is named'),
    ...clientOptions,
  },
  examples: [{ line: 'broker secret delete disks/luks/web1 --secret-version 1', explains: 'one version' }],
  async run(input, { io }): Promise<Result> {
    const { path, version, force } = input;
    const url = secretUrl(parseResourcePath(path));
    if (version === undefined && !force)
      throw new InvalidArgumentError(
        '--secret-version',
        'it has to be given, or --force to destroy all versions',
      );
    const query = version === undefined ? '' : `?version=${version}`;
    await (await connectBroker(input, io)).ask('DELETE', `${url}${query}`);
    const what = version === undefined ? path : `version ${version} of ${path}`;
    return {
      exit: 0,
      json: { path, version: version ?? null },
      render: (screen) => screen.line(`${what} is gone`),
    };
  },
});

export const assign = command({
  description: 'Says which release policy decides over a secret.',
  arguments: pathArgument,
  options: { policy: text('--policy <name>', 'its name; left out, the default policy'), ...clientOptions },
  examples: [
    { line: 'broker secret policy disks/luks/web1 --policy web', explains: 'the policy "web" decides' },
  ],
  async run(input, { io }): Promise<Result> {
    const { path, policy = null } = input;
    await (await connectBroker(input, io)).ask('PATCH', secretUrl(parseResourcePath(path)), { policy });
    const who = policy === null ? 'the default policy' : `policy ${policy}`;
    return {
      exit: 0,
      json: { path, policy },
      render: (screen) => screen.line(`${who} decides over ${path}`),
    };
  },
});
