import { fromBase64, InvalidArgumentError, MalformedError, toBase64 } from '@vouchsafe/sev';
import type { ImageDescriptor } from './manifest.js';

/** Begins every annotation about encryption. */
const family = 'org.opencontainers.image.enc.';
const keysPrefix = `${family}keys.`;
const providerPrefix = `${keysPrefix}provider.`;
const publicOptionsName = `${family}pubopts`;

const suffix = '+encrypted';
const layerTypes = [
  'application/vnd.oci.image.layer.v1.tar',
  'application/vnd.oci.image.layer.v1.tar+gzip',
  'application/vnd.oci.image.layer.v1.tar+zstd',
  'application/vnd.oci.image.layer.nondistributable.v1.tar',
  'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip',
  'application/vnd.oci.image.layer.nondistributable.v1.tar+zstd',
];

/** Longest name of a key provider, in characters. */
const longestName = 64;
/** Packets in one annotation: recipients of one layer. */
const mostPackets = 32;

/** A layer's key, wrapped by one key provider. */
export interface WrappedLayerKey {
  /** The name under which the tool that encrypted knew the key provider. */
  readonly provider: string;
  readonly packet: Uint8Array;
}

/** Whether a layer says that it is encrypted. */
export function isEncryptedLayer({ mediaType }: ImageDescriptor): boolean {
  return mediaType.endsWith(suffix);
}

/** The keys of a layer that key providers can unwrap. @throws MalformedError for what is not base64 */
export function wrappedLayerKeys({ annotations = {} }: ImageDescriptor): WrappedLayerKey[] {
  const named = Object.entries(annotations).filter(([name]) => name.startsWith(providerPrefix));
  return named.flatMap(([name, value]) => {
    const packets = value.split(',', mostPackets + 1);
    if (packets.length > mostPackets) refuse(name, `at most ${mostPackets} packets`, 'more');
    const provider = name.slice(providerPrefix.length);
    return packets.map((packet) => ({ provider, packet: packetOf(packet, name) }));
  });
}

/** Ways in which the key of a layer is wrapped other than by a key provider, such as `jwe` or `pgp`. */
export function otherWrappings({ annotations = {} }: ImageDescriptor): string[] {
  return Object.keys(annotations)
    .filter((name) => name.startsWith(keysPrefix) && !name.startsWith(providerPrefix))
    .map((name) => name.slice(keysPrefix.length));
}

/** The annotation with a layer's public options. @throws MalformedError when there is none */
export function publicOptionsOf({ annotations = {} }: ImageDescriptor): string {
  return annotations[publicOptionsName] ?? refuse(publicOptionsName, 'public options', 'nothing');
}

/**
 * The descriptor of a layer once it is encrypted.
 * @throws InvalidArgumentError for a layer that is encrypted already, for another type of blob, and for a name that no
 * annotation can end with
 */
export function encryptedDescriptor(
  plain: ImageDescriptor,
  blob: { readonly digest: string; readonly size: number },
  key: WrappedLayerKey,
  publicOptions: string,
): ImageDescriptor {
  requireLayerToEncrypt(plain);
  requireProviderName(key.provider);
  return {
    ...plain,
    ...blob,
    mediaType: `${plain.mediaType}${suffix}`,
    annotations: {
      ...plain.annotations,
      [`${providerPrefix}${key.provider}`]: toBase64(key.packet),
      [publicOptionsName]: publicOptions,
    },
  };
}

/** @throws InvalidArgumentError */
export function requireLayerToEncrypt({ mediaType, digest }: ImageDescriptor): void {
  if (layerTypes.includes(mediaType)) return;
  throw new InvalidArgumentError('layer', `${digest} is ${JSON.stringify(mediaType.slice(0, 100))}`, {
    hint: mediaType.endsWith(suffix)
      ? 'it is encrypted already: decrypt the image first'
      : 'expected a layer of an OCI image: `skopeo copy --format oci` makes one of other images',
  });
}

/** @throws InvalidArgumentError */
export function requireProviderName(name: string): void {
  if (name.length <= longestName && /^[A-Za-z0-9][A-Za-z0-9_.-]*$/.test(name)) return;
  throw new InvalidArgumentError(
    'provider',
    `expected letters, digits, _, - and dots, ${longestName} characters at most`,
  );
}

/**
 * The descriptor of a layer once it is decrypted: nothing of the encryption is left.
 * @throws MalformedError for an encrypted blob that is no layer
 */
export function plainDescriptor(
  encrypted: ImageDescriptor,
  blob: { readonly digest: string; readonly size: number },
): ImageDescriptor {
  const mediaType = encrypted.mediaType.slice(0, -suffix.length);
  if (!layerTypes.includes(mediaType) || !isEncryptedLayer(encrypted))
    refuse('mediaType', 'an encrypted layer of an OCI image', 'another type');
  const { annotations = {}, ...rest } = encrypted;
  const kept = Object.entries(annotations).filter(([name]) => !name.startsWith(family));
  return {
    ...rest,
    ...blob,
    mediaType,
    ...(kept.length === 0 ? {} : { annotations: Object.fromEntries(kept) }),
  };
}

function packetOf(text: string, annotation: string): Uint8Array {
  try {
    return fromBase64(text);
  } catch (error) {
    if (!(error instanceof InvalidArgumentError)) throw error;
    return refuse(annotation, 'base64', 'something else');
  }
}

function refuse(field: string, expected: string, found: string): never {
  throw new MalformedError({
    structure: 'encrypted layer',
    field: field.slice(0, 120),
    offset: 0,
    expected,
    found,
  });
}
