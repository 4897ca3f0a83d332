import { command, type Result } from '../../../frame/command.js';
import { keyProviderOptions, openKeyProvider } from './options.js';

export const keyProviderCommand = command({
  description:
    'A key provider in the form of a command, which skopeo, podman and buildah start for each layer that they encrypt: it ' +
    'reads one request from standard input and answers on standard output. It wraps the layer’s key with a key that guests ' +
    'can get from the broker; when that key cannot be stored there, it fails, and so does the tool.',
  arguments: {},
  options: keyProviderOptions,
  examples: [
    {
      line: 'image key-provider --register --data /srv/broker',
      explains:
        'in OCICRYPT_KEYPROVIDER_CONFIG: {"cmd":{"path":"vouchsafe","args":["image","key-provider",…]}}',
    },
  ],
  async run(input, { io }): Promise<Result> {
    const { provider, keys } = await openKeyProvider(input, io);
    const request = await io.readStdin();
    const answer = await provider.answer(request).finally(() => {
      request.fill(0);
      return keys.close();
    });
    const text = new TextDecoder().decode(answer);
    return { exit: 0, json: JSON.parse(text) as unknown, render: (screen) => screen.line(text) };
  },
});
