import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { grpcServer, keyProviderService, requireCaller } from '@vouchsafe/guest';
import { InvalidArgumentError, UnavailableError } from '@vouchsafe/sev';
import { command, type Result } from '../../../frame/command.js';
import { parsed, withDefault } from '../../../frame/options.js';
import { untilStopped } from '../../stay.js';
import { keyProviderOptions, openKeyProvider } from './options.js';

interface Loopback {
  readonly host: string;
  readonly port: number;
}

export const serve = command({
  description:
    'A key provider that skopeo, podman and buildah call over gRPC while they encrypt images. It wraps each layer’s key with ' +
    'a key that guests can get from the broker; when that key cannot be stored there, it fails, and so does the tool. It ' +
    'answers this user and root, on this machine. The parameters of tools are keyid=kbs:///REPOSITORY/TYPE/TAG and ' +
    'keypath=FILE, joined with `::`; without them, each layer has a new key under a new id.',
  arguments: {},
  options: {
    listen: withDefault(
      parsed('--listen <address>', 'where to answer, on loopback: HOST:PORT', readLoopback),
      { host: '127.0.0.1', port: 50_000 },
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
    const { host, port } = input.listen;
    const { provider, keys } = await openKeyProvider(input, io);
    const { server, close } = grpcServer(keyProviderService(provider), (socket) =>
      requireCaller(socket, { users: [] }),
    );
    try {
      server.listen(port, host);
      await once(server, 'listening');
    } catch (cause) {
      await keys.close();
      const code = cause instanceof Error && 'code' in cause ? String(cause.code) : 'failed';
      throw new UnavailableError('key provider', `cannot listen on ${host}:${port} (${code})`, {
        cause,
        hint: 'choose another port with --listen; 0 takes a free one',
      });
    }
    const { address, port: found } = server.address() as AddressInfo;
    const grpc = `${address.includes(':') ? `[${address}]` : address}:${found}`;
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
          await close();
          await keys.close();
        }),
    };
  },
});

function readLoopback(given: string, name: string): Loopback {
  const [, host, port] = /^(127(?:\.\d{1,3}){3}|localhost|\[::1\]):(\d{1,5})$/.exec(given) ?? [];
  if (host !== undefined && Number(port) <= 0xffff)
    return { host: host.replace(/^\[(.*)\]$/, '$1'), port: Number(port) };
  throw new InvalidArgumentError(name, 'expected an address on loopback, such as 127.0.0.1:50000', {
    hint: 'whoever can call it can have keys stored: it answers no other machine',
  });
}
