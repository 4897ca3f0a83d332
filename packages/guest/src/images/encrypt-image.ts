import {
  annotationPacketBytes,
  encryptedDescriptor,
  type ImageDescriptor,
  layerKeySize,
  layerNonceSize,
  privateLayerOptionsText,
  publicLayerOptionsText,
  type ResourcePath,
  requireLayerToEncrypt,
  requireProviderName,
  wrapLayerOptions,
} from '@vouchsafe/protocol';
import { InvalidArgumentError, MalformedError, type RandomSource, Secret } from '@vouchsafe/sev';
import { layerEncryption } from './layer-cipher.js';
import type { OciLayout, WrittenBlob } from './oci-layout.js';

export interface EncryptImageOptions {
  readonly from: OciLayout;
  /** Name of the image in `from`; without it, the only one. */
  readonly image?: string | undefined;
  readonly to: OciLayout;
  /** Name in `to`. */
  readonly as?: string | undefined;
  /** 32 bytes that each layer's own key is wrapped with. */
  readonly key: Secret;
  /** Under which guests will find that key. */
  readonly keyId: ResourcePath;
  /** Which layers: 0 is the lowest, -1 the highest. Default: all. */
  readonly layers?: readonly number[] | undefined;
  /** Name of the key provider that the guest's tools call. Default: `attestation-agent`. */
  readonly provider?: string | undefined;
  readonly random: RandomSource;
}

export interface EncryptedImage {
  readonly manifest: WrittenBlob;
  readonly layers: readonly {
    readonly encrypted: boolean;
    /** Before. */
    readonly plain: string;
    /** After; the same where it was not encrypted. */
    readonly digest: string;
    readonly size: number;
  }[];
}

/**
 * Encrypts the layers of an image, each with a key of its own that `key` wraps. The configuration (command, environment,
 * digests of the content) stays readable, and so does who could change it: encryption keeps layers secret and whole, it
 * does not say that an image is the owner's.
 * @throws InvalidArgumentError for a layer that is encrypted or is none
 * @throws MalformedError for a blob that is not what the manifest says; nothing is left in `to` then
 */
export async function encryptImage(options: EncryptImageOptions): Promise<EncryptedImage> {
  const { from, to, image, as, provider = 'attestation-agent' } = options;
  requireProviderName(provider);
  const { manifest } = await from.image(image);
  const chosen = chosenLayers(manifest.layers.length, options.layers);
  for (const index of chosen) requireLayerToEncrypt(manifest.layers[index]!);
  try {
    const layers: ImageDescriptor[] = [];
    for (const [index, layer] of manifest.layers.entries()) {
      if (chosen.has(index)) layers.push(await encryptLayer(layer, provider, options));
      else {
        await to.copyBlob(from, layer);
        layers.push(layer);
      }
    }
    await to.copyBlob(from, manifest.config);
    const written = await to.putImage({ ...manifest, layers }, as);
    return {
      manifest: written,
      layers: layers.map(({ digest, size }, index) => {
        return { encrypted: chosen.has(index), plain: manifest.layers[index]!.digest, digest, size };
      }),
    };
  } catch (error) {
    await to.undo();
    throw error;
  }
}

async function encryptLayer(
  layer: ImageDescriptor,
  provider: string,
  { from, to, key: wrappingKey, keyId, random }: EncryptImageOptions,
): Promise<ImageDescriptor> {
  const key = Secret.take(random(layerKeySize));
  const nonce = random(layerNonceSize);
  const layerOptions = privateLayerOptionsText({ key, nonce, digest: layer.digest });
  try {
    const packet = await wrapLayerOptions({ key: wrappingKey, keyId, layerOptions, random });
    const cipher = layerEncryption(key, nonce);
    let hmac = new Uint8Array();
    const blob = await to.writeBlob(async (write) => {
      for await (const piece of from.pieces(layer.digest)) await write(cipher.update(piece));
      const sums = cipher.finish();
      if (sums.plainDigest !== layer.digest || sums.size !== layer.size)
        throw changed(layer, sums.plainDigest);
      hmac = new Uint8Array(sums.hmac);
      return { digest: sums.encryptedDigest, size: sums.size };
    });
    const wrapped = { provider, packet: annotationPacketBytes(packet) };
    return encryptedDescriptor(layer, blob, wrapped, publicLayerOptionsText(hmac));
  } finally {
    key.zero();
    layerOptions.zero();
  }
}

function changed({ digest, size }: ImageDescriptor, found: string): MalformedError {
  return new MalformedError(
    {
      structure: 'image layout',
      field: `blob ${digest}`,
      offset: 0,
      expected: `${size} bytes with that digest`,
      found,
    },
    { hint: 'the blob was changed or cut off: copy the image again' },
  );
}

function chosenLayers(count: number, wanted: readonly number[] | undefined): ReadonlySet<number> {
  if (wanted === undefined) return new Set(Array(count).keys());
  return new Set(
    wanted.map((index) => {
      const at = index < 0 ? count + index : index;
      if (Number.isInteger(index) && at >= 0 && at < count) return at;
      throw new InvalidArgumentError(
        'layer',
        `expected a number from ${-count} to ${count - 1}, found ${index}`,
      );
    }),
  );
}
