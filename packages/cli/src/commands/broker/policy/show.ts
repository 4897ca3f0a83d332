import { fromBase64 } from '@vouchsafe/sev';
import { command, type Result } from '../../../frame/command.js';
import { argument } from '../../../frame/options.js';
import { harmless } from '../../../frame/screen.js';
import { connectBroker } from '../client.js';
import { clientOptions } from '../data-folder.js';

interface PolicySummary {
  readonly name: string;
  readonly version: number;
  readonly language: string;
  readonly author: string;
  readonly createdAt: string;
}

export const list = command({
  description: 'Lists the release policies of a broker.',
  arguments: {},
  options: clientOptions,
  examples: [{ line: 'broker policy list', explains: 'names, versions, and who set them' }],
  async run(input, { io }): Promise<Result> {
    const policies = await (await connectBroker(input, io)).ask<PolicySummary[]>('GET', '/policies');
    return {
      exit: 0,
      json: policies,
      render: (screen) =>
        screen.table(
          ['policy', 'version', 'language', 'set', 'by'],
          policies.map((each) => [
            each.name,
            String(each.version),
            each.language,
            each.createdAt,
            harmless(each.author),
          ]),
        ),
    };
  },
});

export const show = command({
  description: 'Shows a release policy as it was set.',
  arguments: { name: argument('name', 'of the policy') },
  options: clientOptions,
  examples: [{ line: 'broker policy show default', explains: 'what decides where a secret names no policy' }],
  async run(input, { io }): Promise<Result> {
    const url = `/policies/${encodeURIComponent(input.name)}`;
    const answer = await (await connectBroker(input, io)).ask<PolicySummary & { policy: string }>('GET', url);
    const isText = answer.language !== 'compiled-rego';
    const text = isText ? new TextDecoder().decode(fromBase64(answer.policy)) : '(compiled Rego)';
    return {
      exit: 0,
      json: { ...answer, ...(isText ? { policy: text } : {}) },
      render: (screen) => screen.line(harmless(text.trimEnd())),
    };
  },
});

export const remove = command({
  description: 'Deletes a release policy. What it decided over is denied from then on.',
  arguments: { name: argument('name', 'of the policy') },
  options: clientOptions,
  examples: [{ line: 'broker policy delete web', explains: 'the policy "web"' }],
  async run(input, { io }): Promise<Result> {
    const { name } = input;
    await (await connectBroker(input, io)).ask('DELETE', `/policies/${encodeURIComponent(name)}`);
    return { exit: 0, json: { name }, render: (screen) => screen.line(`Policy ${name} is gone`) };
  },
});
