import * as protocol from '@vouchsafe/protocol';
import { Secret, toBase64 } from '@vouchsafe/sev';
import type { Parser } from '../run.js';

const utf8 = (text: string) => new TextEncoder().encode(text);
const digest = `sha256:${'0f'.repeat(32)}`;
const zeros = (length: number) => toBase64(new Uint8Array(length));

const publicOptions = { cipher: 'AES_256_CTR_HMAC_SHA256', hmac: zeros(32), cipheroptions: {} };
const privateOptions = { symkey: zeros(32), digest, cipheroptions: { nonce: zeros(16) } };
const publicText = toBase64(utf8(JSON.stringify(publicOptions)));
const layer = {
  mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip+encrypted',
  digest,
  size: 129,
  annotations: {
    'org.opencontainers.image.enc.keys.provider.attestation-agent': toBase64(utf8('{}')),
    'org.opencontainers.image.enc.pubopts': publicText,
  },
};
const config = { mediaType: 'application/vnd.oci.image.config.v1+json', digest, size: 194 };
const named = { mediaType: protocol.imageManifestType, digest, size: 401 };

/** Valid documents of container images, by exported name. */
export const imageExamples: Record<string, object[]> = {
  imageManifest: [{ schemaVersion: 2, mediaType: protocol.imageManifestType, config, layers: [layer] }],
  imageIndex: [{ schemaVersion: 2, manifests: [named] }],
  imageLayout: [{ imageLayoutVersion: '1.0.0' }],
  publicLayerOptions: [publicOptions],
};

/** What reads encrypted layers. */
export function imageReaders(): Parser[] {
  return [
    {
      name: 'parsePublicLayerOptions',
      seeds: [utf8(publicText)],
      parse: (bytes) => protocol.parsePublicLayerOptions(new TextDecoder().decode(bytes)),
    },
    {
      name: 'parsePrivateLayerOptions',
      seeds: [utf8(JSON.stringify(privateOptions))],
      parse: (bytes) => protocol.parsePrivateLayerOptions(Secret.copyOf(bytes)),
    },
    {
      name: 'wrappedLayerKeys',
      seeds: [utf8(JSON.stringify(imageExamples['imageManifest']![0]))],
      parse(bytes) {
        for (const each of protocol.imageManifest.parseText(new TextDecoder().decode(bytes)).layers) {
          protocol.wrappedLayerKeys(each);
          protocol.otherWrappings(each);
          if (protocol.isEncryptedLayer(each)) protocol.plainDescriptor(each, { digest, size: 1 });
        }
      },
    },
  ];
}
