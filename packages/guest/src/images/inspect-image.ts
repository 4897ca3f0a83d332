import {
  isEncryptedLayer,
  layerCipher,
  otherWrappings,
  parseAnnotationPacket,
  wrappedLayerKeys,
} from '@vouchsafe/protocol';
import { MalformedError } from '@vouchsafe/sev';
import type { OciLayout } from './oci-layout.js';

export interface LayerDescription {
  readonly digest: string;
  /** In bytes. */
  readonly size: number;
  readonly mediaType: string;
  /** Absent where the layer is plain. */
  readonly encryption?: {
    readonly cipher: string;
    /** Key providers, and the ids of the keys that they are asked for. */
    readonly keys: readonly { readonly provider: string; readonly keyId: string }[];
    /** Recipients of other kinds, such as `jwe`. */
    readonly others: readonly string[];
  };
}

export interface ImageDescription {
  /** Digest of the manifest. */
  readonly manifest: string;
  readonly config: string;
  /** The lowest first. */
  readonly layers: readonly LayerDescription[];
}

/** What an image says about its encryption, which needs no key and proves nothing. */
export async function inspectImage(layout: OciLayout, image?: string): Promise<ImageDescription> {
  const { descriptor, manifest } = await layout.image(image);
  const layers = manifest.layers.map((layer): LayerDescription => {
    const { digest, size, mediaType } = layer;
    if (!isEncryptedLayer(layer)) return { digest, size, mediaType };
    const keys = wrappedLayerKeys(layer).map(({ provider, packet }) => ({
      provider,
      keyId: keyIdOf(packet),
    }));
    return {
      digest,
      size,
      mediaType,
      encryption: { cipher: layerCipher, keys, others: otherWrappings(layer) },
    };
  });
  return { manifest: descriptor.digest, config: manifest.config.digest, layers };
}

/** Other key providers have packets of their own. */
function keyIdOf(packet: Uint8Array): string {
  try {
    return parseAnnotationPacket(packet).kid;
  } catch (error) {
    if (error instanceof MalformedError) return 'a packet of another kind';
    throw error;
  }
}
