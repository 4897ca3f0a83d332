import { type Role, rolePurposes, roles } from '@vouchsafe/broker/documents';
import { command, type Result } from '../../../frame/command.js';
import { writeOutputs } from '../../../frame/files.js';
import { argument, choice, number, path, repeated, required, withDefault } from '../../../frame/options.js';
import { harmless } from '../../../frame/screen.js';
import { connectBroker } from '../client.js';
import { clientOptions } from '../data-folder.js';

interface TokenAnswer {
  readonly id: string;
  readonly name: string;
  readonly roles: readonly string[];
  readonly createdAt: string;
  readonly expiresAt: string;
  readonly revokedAt?: string;
  readonly token?: string;
}

export const issue = command({
  description:
    'Issues a token for an administrator, with roles that you have yourself: ' +
    `${roles.map((role: Role) => `${role} (${rolePurposes[role]})`).join('; ')}. It goes into a file that only you can read.`,
  arguments: { name: argument('name', 'whose token it is, for the record') },
  options: {
    role: repeated(choice('--role <role>', 'what it may do', roles)),
    hours: withDefault(number('--hours <n>', 'how long it is good', { least: 1, most: 90 * 24 }), 24),
    out: required(path('--out <file>', 'where the token goes')),
    ...clientOptions,
  },
  examples: [
    { line: 'broker token issue ci --role policy --out ci.token', explains: 'for a day' },
    { line: 'broker token issue anna --role auditor --hours 720 --out anna.token', explains: 'for a month' },
  ],
  async run(input, { io }): Promise<Result> {
    const { name, role, hours, out } = input;
    const broker = await connectBroker(input, io);
    const { token = '', ...issued } = await broker.ask<TokenAnswer>('POST', '/tokens', {
      name,
      roles: role,
      lifetime: hours * 3600,
    });
    const bytes = new TextEncoder().encode(`${token}\n`);
    await writeOutputs([{ path: out, bytes, secret: true }], { overwrite: false });
    return {
      exit: 0,
      json: { ...issued, file: out },
      render: (screen) =>
        screen.line(
          `Wrote ${out}: token ${issued.id}, ${issued.roles.join(', ')}, until ${issued.expiresAt}`,
        ),
    };
  },
});

export const list = command({
  description: 'Lists administrators’ tokens: whose they are and what they may do.',
  arguments: {},
  options: clientOptions,
  examples: [{ line: 'broker token list', explains: 'revoked and expired ones, too' }],
  async run(input, { io }): Promise<Result> {
    const tokens = await (await connectBroker(input, io)).ask<TokenAnswer[]>('GET', '/tokens');
    return {
      exit: 0,
      json: tokens,
      render: (screen) =>
        screen.table(
          ['token', 'whose', 'roles', 'until'],
          tokens.map(({ id, name, roles: held, expiresAt, revokedAt }) => [
            id,
            harmless(name),
            held.join(', '),
            revokedAt === undefined ? expiresAt : `revoked ${revokedAt}`,
          ]),
        ),
    };
  },
});

export const revoke = command({
  description: 'Revokes an administrator’s token, at once and on every replica.',
  arguments: { id: argument('id', 'of the token, as `token list` shows it') },
  options: clientOptions,
  examples: [{ line: 'broker token revoke 0123456789abcdef', explains: 'it is refused from now on' }],
  async run(input, { io }): Promise<Result> {
    const { id } = input;
    await (await connectBroker(input, io)).ask('DELETE', `/tokens/${encodeURIComponent(id)}`);
    return { exit: 0, json: { id }, render: (screen) => screen.line(`Token ${id} is revoked`) };
  },
});

export const rotate = command({
  description:
    'Makes a new key that signs attestation tokens. Those of the key before it stay good for the overlap.',
  arguments: {},
  options: {
    overlap: withDefault(
      number('--overlap <seconds>', '0 for a key that was stolen', { most: 7 * 86_400 }),
      600,
    ),
    ...clientOptions,
  },
  examples: [
    { line: 'broker token rotate-key', explains: 'tokens of the old key are good for ten minutes more' },
  ],
  async run(input, { io }): Promise<Result> {
    const { overlap } = input;
    const key = await (await connectBroker(input, io)).ask<{ kid: string }>('POST', '/keys/rotate', {
      overlap,
    });
    return {
      exit: 0,
      json: { ...key, overlap },
      render: (screen) =>
        screen.line(`Key ${key.kid} signs from now on; the one before it verifies ${overlap} s longer`),
    };
  },
});
