import { serveKeyProvider } from '@vouchsafe/guest';
import { command, type Result } from '../../../frame/command.js';
import { text, withDefault } from '../../../frame/options.js';
import { untilStopped } from '../../stay.js';
import { keyProviderOptions, openKeyProvider } from './options.js';

export const serve = command({
  description:
    'A key provider that skopeo, podman and buildah call over gRPC while they encrypt images. It wraps each layer’s key with ' +
    'a key that guests can get from the broker; when that key cannot be stored there, it fails, and so does the tool. It ' +
    'answers this user and root, on this machine. The parameters of tools are keyid=kbs:///REPOSITORY/TYPE/TAG and ' +
    'keypath=FILE, joined with `::`; without them, each layer has a new key under a new id.',
  arguments: {},
  options: {
    listen: withDefault(
      text('--listen <address>', 'where to answer: HOST:PORT on loopback, or unix:PATH'),
      '127.0.0.1:50000',
    ),
    ...keyProviderOptions,
  },
  examples: [
    {
      line: 'image key-provider serve --register',
      explains:
        'then: skopeo copy --encryption-key provider:attestation-agent:keyid=kbs:///web/image-key/1 oci:img oci:secret',
    },
  ],
  async run(input, { io }): Promise<Result> {
    const { provider, keys } = await openKeyProvider(input, io);
    const served = await serveKeyProvider(provider, input.listen, { users: [] }).catch(
      async (error: unknown) => {
        await keys.close();
        throw error;
      },
    );
    const grpc = served.place;
    return {
      exit: 0,
      json: { grpc, config: { 'key-providers': { 'attestation-agent': { grpc } } } },
      render(screen) {
        screen.line(`A key provider for encrypting images, at ${grpc}`);
        screen.line('Tools find it by the file that OCICRYPT_KEYPROVIDER_CONFIG names:');
        screen.line(`  {"key-providers":{"attestation-agent":{"grpc":"${grpc}"}}}`);
      },
      stay: (stop) =>
        untilStopped(stop, async () => {
          await served.close();
          await keys.close();
        }),
    };
  },
});
