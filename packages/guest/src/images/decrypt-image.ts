import {
  type ImageDescriptor,
  isEncryptedLayer,
  LayerKeyError,
  type LayerKeys,
  parseAnnotationPacket,
  parseKeyId,
  parsePrivateLayerOptions,
  parsePublicLayerOptions,
  plainDescriptor,
  publicOptionsOf,
  unwrapLayerOptions,
  wrappedLayerKeys,
} from '@vouchsafe/protocol';
import { type Appraisal, constantTimeEqual, type Secret, toHex, UnavailableError } from '@vouchsafe/sev';
import { LayerAppraisal, layerChecks } from './layer-checks.js';
import { layerDecryption } from './layer-cipher.js';
import type { OciLayout, WrittenBlob } from './oci-layout.js';

/**
 * Opens the packet of a layer: its private options, for the caller to zero.
 * @throws LayerKeyError when the packet does not open
 */
export type OpenPacket = (packet: Uint8Array) => Promise<Secret>;

export interface DecryptImageOptions {
  readonly from: OciLayout;
  /** Name of the image in `from`; without it, the only one. */
  readonly image?: string | undefined;
  readonly to: OciLayout;
  /** Name in `to`. */
  readonly as?: string | undefined;
  readonly openPacket: OpenPacket;
  /** Repositories whose keys may open layers. Default: whatever the packets name, and {@link OpenPacket} opens. */
  readonly repositories?: readonly string[] | undefined;
  /** The manifest that is expected, `sha256:…`. */
  readonly manifest?: string | undefined;
  /** Takes over layers that are not encrypted, which anybody can have put there. */
  readonly allowPlainLayers?: boolean | undefined;
}

export interface DecryptedImage {
  readonly appraisal: Appraisal;
  readonly manifest: WrittenBlob;
  readonly layers: readonly { readonly encrypted: boolean; readonly digest: string; readonly size: number }[];
}

/** Opens packets with keys by their ids. */
export function openPacketsWith(keyToUnwrap: NonNullable<LayerKeys['keyToUnwrap']>): OpenPacket {
  return async (bytes) => {
    const packet = parseAnnotationPacket(bytes);
    const key = await keyToUnwrap(packet.kid);
    try {
      return await unwrapLayerOptions(packet, key);
    } finally {
      key.zero();
    }
  };
}

/**
 * Decrypts the layers of an image. A layer stands in `to` only after its HMAC and the digest of its content were found
 * right; when one is refused, nothing of the image is left there.
 * @throws RefusedError with the check that failed ({@link encryptedImageChecks})
 * @throws MalformedError for a manifest, a packet or options that cannot be read; whatever {@link OpenPacket} throws
 */
export async function decryptImage(options: DecryptImageOptions): Promise<DecryptedImage> {
  const { from, to, image, as } = options;
  const { descriptor, manifest } = await from.image(image);
  const appraisal = new LayerAppraisal();
  appraiseManifest(appraisal, descriptor.digest, manifest.layers, options);
  try {
    const layers: ImageDescriptor[] = [];
    for (const [index, layer] of manifest.layers.entries()) {
      if (isEncryptedLayer(layer)) layers.push(await decryptLayer(layer, index, appraisal, options));
      else {
        await to.copyBlob(from, layer);
        layers.push(layer);
      }
    }
    await to.copyBlob(from, manifest.config);
    const written = await to.putImage({ ...manifest, layers }, as);
    const told = layers.map(({ digest, size }, index) => {
      return { encrypted: isEncryptedLayer(manifest.layers[index]!), digest, size };
    });
    return { appraisal: appraisal.finish(), manifest: written, layers: told };
  } catch (error) {
    await to.undo();
    throw error;
  }
}

function appraiseManifest(
  appraisal: LayerAppraisal,
  digest: string,
  layers: readonly ImageDescriptor[],
  { manifest: expected, allowPlainLayers = false, repositories }: DecryptImageOptions,
): void {
  const plain = layers.flatMap((layer, index) => (isEncryptedLayer(layer) ? [] : [layerName(layer, index)]));
  if (repositories === undefined)
    appraisal.notAsked('layer.key-id', 'ask with repositories, --repository NAME');
  if (plain.length === layers.length && allowPlainLayers) {
    const others = layerChecks.filter((id) => id !== 'layer.key-id' || repositories !== undefined);
    for (const id of others) appraisal.notAsked(id, 'no layer is encrypted');
  }
  if (expected === undefined) appraisal.notAsked('image.manifest', 'ask with manifest, --manifest DIGEST');
  else appraisal.image('image.manifest', expected === digest, expected, digest);
  if (allowPlainLayers) appraisal.notAsked('image.encrypted', 'plain layers were allowed by name');
  else {
    const found = plain.length === 0 ? 'the same' : `in plain text: ${plain.slice(0, 5).join(', ')}`;
    const whole = plain.length === 0 && layers.length > 0;
    appraisal.image(
      'image.encrypted',
      whole,
      'all layers encrypted',
      layers.length === 0 ? 'no layer' : found,
    );
  }
}

async function decryptLayer(
  layer: ImageDescriptor,
  index: number,
  appraisal: LayerAppraisal,
  options: DecryptImageOptions,
): Promise<ImageDescriptor> {
  const { from, to } = options;
  const name = layerName(layer, index);
  const { hmac } = parsePublicLayerOptions(publicOptionsOf(layer));
  const layerOptions = await openAnyPacket(layer, name, appraisal, options);
  try {
    const { key, nonce, digest } = parsePrivateLayerOptions(layerOptions);
    try {
      const cipher = layerDecryption(key, nonce);
      const blob = await to.writeBlob(async (write) => {
        let length = 0;
        for await (const piece of from.pieces(layer.digest)) {
          length += piece.length;
          // A blob that never ends fills no disk.
          if (length > layer.size) break;
          await write(cipher.update(piece));
        }
        const sums = cipher.finish();
        const isNamed = length === layer.size && sums.encryptedDigest === layer.digest;
        const found = length > layer.size ? 'more bytes' : `${length} bytes, ${sums.encryptedDigest}`;
        appraisal.layer('layer.digest', isNamed, name, `${layer.size} bytes, ${layer.digest}`, found);
        const genuine = constantTimeEqual(sums.hmac, hmac);
        // What was computed would tell whoever altered the layer which HMAC to put beside it.
        appraisal.layer('layer.hmac', genuine, name, toHex(hmac), 'another HMAC');
        appraisal.layer('layer.content', sums.plainDigest === digest, name, digest, sums.plainDigest);
        return { digest, size: sums.size };
      });
      return plainDescriptor(layer, blob);
    } finally {
      key.zero();
    }
  } finally {
    layerOptions.zero();
  }
}

/** A layer may be encrypted for several recipients: one of its packets has to open. */
async function openAnyPacket(
  layer: ImageDescriptor,
  name: string,
  appraisal: LayerAppraisal,
  { openPacket, repositories }: DecryptImageOptions,
): Promise<Secret> {
  const all = wrappedLayerKeys(layer).map(({ packet }) => packet);
  if (all.length === 0) {
    throw new UnavailableError('encrypted layer', `${name} has no key that a key provider wrapped`, {
      hint: '`vouchsafe image inspect` shows how it is wrapped',
    });
  }
  const packets =
    repositories === undefined ? all : all.filter((packet) => repositories.includes(repositoryOf(packet)));
  const found = repositories === undefined ? '' : [...new Set(all.map(repositoryOf))].join(', ');
  appraisal.layer('layer.key-id', packets.length > 0, name, `a key in ${repositories?.join(', ')}`, found);
  let wrongKey: LayerKeyError | undefined;
  let other: unknown;
  for (const packet of packets) {
    try {
      return await openPacket(packet);
    } catch (error) {
      if (error instanceof LayerKeyError) wrongKey ??= error;
      else other ??= error;
    }
  }
  if (other !== undefined) throw other;
  appraisal.layer('layer.key', false, name, 'a packet that opens', wrongKey?.message ?? 'none');
  throw wrongKey;
}

const repositoryOf = (packet: Uint8Array) => parseKeyId(parseAnnotationPacket(packet).kid).repository;
const layerName = ({ digest }: ImageDescriptor, index: number) => `layer ${index} (${digest})`;
