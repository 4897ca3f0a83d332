import {
  GetResourceService,
  ImagePullService,
  SealedSecretService,
  SecureMountService,
  type ServedMethod,
  serveMethods,
} from '@vouchsafe/protocol';
import { MalformedError, openSecret, type Secret } from '@vouchsafe/sev';
import type { ImagePolicyGate } from '../image-policy/gate.js';
import { type AgentResources, requireResource } from '../resources/resources.js';
import { unsealSecret } from '../sealed-secrets.js';
import { UnimplementedError } from '../unimplemented.js';
import { type MountCommands, secureMount } from './secure-mount.js';

/** Brings an image into the guest. It asks the gate before it unpacks anything. */
export interface ImagePuller {
  /** @returns the digest of the image's manifest, `sha256:…` */
  pull(request: {
    readonly image: string;
    readonly bundlePath: string;
    readonly gate: ImagePolicyGate;
    readonly resources: AgentResources;
  }): Promise<string>;
}

export interface DataHubOptions {
  readonly resources: AgentResources;
  readonly imagePolicy: ImagePolicyGate;
  /** Absent where the container runtime pulls images, with this agent as its key provider. */
  readonly puller?: ImagePuller;
  /** Folder of the keys that sealed secrets are verified with. */
  readonly sealedSecretKeys?: string;
  readonly mountCommands?: MountCommands;
}

/** The methods that gRPC, ttrpc and REST share. */
export interface DataHubCalls {
  /** For the caller to zero. */
  resource(path: string): Promise<Secret>;
  /** For the caller to zero. */
  unseal(sealed: string): Promise<Secret>;
}

/** What the confidential data hub answers for containers. */
export function dataHubCalls({ resources, sealedSecretKeys }: DataHubOptions): DataHubCalls {
  const folder = sealedSecretKeys === undefined ? {} : { keysFolder: sealedSecretKeys };
  return {
    resource: (path) => requireResource(resources, path),
    unseal: (sealed) => unsealSecret(sealed, { resources, ...folder }),
  };
}

/** The services of a Kata agent, over these calls. */
export function dataHubServices(calls: DataHubCalls, options: DataHubOptions): ServedMethod[] {
  const { resources, imagePolicy: gate, puller, mountCommands } = options;
  return [
    ...serveMethods(SealedSecretService, {
      unsealSecret: async ({ secret }) => ({ plaintext: bytesOf(await calls.unseal(textOf(secret))) }),
    }),
    ...serveMethods(GetResourceService, {
      getResource: async ({ resourcePath }) => ({ resource: bytesOf(await calls.resource(resourcePath)) }),
    }),
    ...serveMethods(SecureMountService, {
      async secureMount({ volumeType, options: given, flags, mountPoint }) {
        await secureMount({ volumeType, options: given, flags, mountPoint }, calls, mountCommands);
        return {};
      },
    }),
    ...serveMethods(ImagePullService, {
      async pullImage({ imageUrl: image, bundlePath }) {
        if (puller === undefined) {
          await gate.requireNotRejected(image);
          throw new UnimplementedError('this agent pulls no images', {
            hint: 'let the container runtime pull, with this agent as its key provider',
          });
        }
        return { manifestDigest: await puller.pull({ image, bundlePath, gate, resources }) };
      },
    }),
  ];
}

/** Copied, because protobuf writes them after the secret is gone. */
function bytesOf(secret: Secret): Uint8Array {
  const bytes = openSecret(secret).slice();
  secret.zero();
  return bytes;
}

function textOf(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes).trimEnd();
  } catch {
    throw new MalformedError({
      structure: 'sealed secret of a specification',
      field: '/',
      offset: 0,
      expected: 'text',
      found: 'bytes that are none',
    });
  }
}
