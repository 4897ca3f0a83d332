import { readyMadePolicy } from '@vouchsafe/broker/documents';
import { InvalidArgumentError, toBase64 } from '@vouchsafe/sev';
import { command, type Result } from '../../../frame/command.js';
import { readInput } from '../../../frame/files.js';
import type { Io } from '../../../frame/io.js';
import { argument, flag, path } from '../../../frame/options.js';
import { connectBroker } from '../client.js';
import { clientOptions } from '../data-folder.js';
import { type WishInput, wishesOf, wishOptions } from './wishes.js';

interface SetAnswer {
  readonly name: string;
  readonly version: number;
  readonly language: string;
  readonly id: string;
  readonly warnings: readonly string[];
}

export const set = command({
  description:
    'Sets a release policy: from a file (Cedar, Trustee’s published policies in Rego, or Rego that was compiled with ' +
    '`opa build -t wasm`), or ready-made of wishes. It is checked before it decides anything. The policy named ' +
    '“default” decides wherever a secret names none.',
  arguments: { name: argument('name', 'of the policy') },
  options: {
    from: path('--from <file>', 'file with the policy; - is standard input'),
    print: flag('--print', 'print the ready-made policy instead of setting it'),
    ...wishOptions,
    ...clientOptions,
  },
  examples: [
    { line: 'broker policy set default --measurement HEX', explains: 'only guests with this launch digest' },
    { line: 'broker policy set web --from web.cedar', explains: 'a policy of your own' },
    { line: 'broker policy set web --id-key HEX --machines 3 --print', explains: 'the text, to begin with' },
  ],
  async run(input, { io }): Promise<Result> {
    const content = await contentOf(input, io);
    const { name } = input;
    if (input.print) {
      const policy = new TextDecoder().decode(content);
      return { exit: 0, json: { policy }, render: (screen) => screen.line(policy.trimEnd()) };
    }
    const broker = await connectBroker(input, io);
    const answer = await broker.ask<SetAnswer>('PUT', `/policies/${encodeURIComponent(name)}`, {
      policy: toBase64(content),
    });
    return {
      exit: 0,
      json: answer,
      render(screen) {
        screen.line(`Policy ${name}, version ${answer.version} (${answer.language}), decides from now on`);
        for (const warning of answer.warnings)
          screen.line(`  ${screen.paint('warning', 'warning')}: ${warning}`);
      },
    };
  },
});

async function contentOf(
  input: WishInput & { readonly from?: string | undefined },
  io: Io,
): Promise<Uint8Array> {
  const wishes = wishesOf(input);
  if ((input.from === undefined) === (wishes === undefined)) {
    throw new InvalidArgumentError('policy', 'give a file with --from, or wishes, and not both', {
      hint: '--measurement, --id-key, --min-tcb and so on are wishes',
    });
  }
  if (input.from !== undefined) return readInput(input.from, 'policy', io);
  return new TextEncoder().encode(readyMadePolicy(wishes ?? {}));
}
