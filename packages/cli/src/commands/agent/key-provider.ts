import { guestKeyProvider } from '@vouchsafe/guest';
import { command, type Result } from '../../frame/command.js';
import { agentSourceOptions } from './options.js';
import { openAgentSources } from './sources.js';

export const keyProvider = command({
  description:
    'Inside a guest: the command form of the ocicrypt key provider. Reads one request of a container tool from standard ' +
    'input and answers on standard output, under whatever name the tool’s configuration knows it. The answer holds the ' +
    'layer’s key. Each run attests anew: a tool that opens many layers is better served by vouchsafe agent serve.',
  arguments: {},
  options: agentSourceOptions,
  examples: [
    {
      line: 'agent key-provider --broker https://broker.example --ca ca.pem',
      explains: 'as {"key-providers":{"any":{"cmd":{"path":"vouchsafe","args":["agent","key-provider",…]}}}}',
    },
  ],
  async run(input, context): Promise<Result> {
    const request = await context.io.readStdin();
    const sources = await openAgentSources(input, context);
    const answer = await guestKeyProvider(sources.resources)
      .answer(request)
      .finally(() => sources.close());
    request.fill(0);
    const text = new TextDecoder().decode(answer);
    return { exit: 0, json: JSON.parse(text) as unknown, render: (screen) => screen.line(text) };
  },
});
