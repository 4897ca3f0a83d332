import { createHash } from 'node:crypto';
import { fromBase64, InvalidArgumentError, MalformedError } from '@vouchsafe/sev';
import { decryptImage, openPacketsWith } from '../../images/decrypt-image.js';
import { OciLayout } from '../../images/oci-layout.js';
import type { ImageSignature } from '../image-policy/gate.js';
import { parseImageReference } from '../image-policy/image-reference.js';
import { requireResource } from '../resources/resources.js';
import { UnimplementedError } from '../unimplemented.js';
import type { ImagePuller } from './data-hub.js';

const cosignPayload = 'application/vnd.dev.cosign.simplesigning.v1+json';
const cosignSignature = 'dev.cosignproject.cosign/signature';
/** Longest manifest and longest signed document, in bytes. */
const largestDocument = 4 * 1024 * 1024;
const mostSignatures = 64;

/**
 * Takes images out of folders that the host shares, in the OCI image layout: `oci:/path[:name]`. The policy is asked about
 * the manifest, with the signatures that cosign keeps beside it (`sha256-….sig`); then the layers are decrypted into a
 * layout of the guest’s own, with the very manifest that the policy allowed. Layers in plain text are taken only where a
 * policy allowed the image.
 */
export const layoutPuller: ImagePuller = {
  async pull({ image, bundlePath, gate, resources }) {
    const { transport, name: place } = parseImageReference(image);
    if (transport !== 'oci') {
      await gate.requireNotRejected(image);
      throw new UnimplementedError(
        'this agent pulls from OCI layouts that are shared with the guest, not from registries',
        {
          hint: 'name oci:/path:name, or let the container runtime pull with this agent as its key provider',
        },
      );
    }
    const [, path = '', name] = /^(.*?)(?::([^:/]+))?$/s.exec(place) ?? [];
    const from = await OciLayout.open(path);
    const { descriptor } = await from.image(name);
    const { digest } = descriptor;
    const manifest = await documentOf(from, digest);
    const appraisal = await gate.requireAllowed({
      image,
      manifest,
      signatures: await signaturesOf(from, digest),
    });
    await decryptImage({
      from,
      to: await OciLayout.create(bundlePath),
      manifest: digest,
      openPacket: openPacketsWith((keyId) => requireResource(resources, keyId)),
      allowPlainLayers: appraisal !== undefined,
      ...(name === undefined ? {} : { image: name, as: name }),
    });
    return digest;
  },
};

/** What cosign keeps beside an image; nothing of it is believed before the policy’s keys have verified it. */
async function signaturesOf(layout: OciLayout, digest: string): Promise<ImageSignature[]> {
  const name = `${digest.replace(':', '-')}.sig`;
  const found = await layout.image(name).catch((error: unknown) => {
    if (error instanceof InvalidArgumentError) return undefined;
    throw error;
  });
  const signatures: ImageSignature[] = [];
  for (const layer of found?.manifest.layers.slice(0, mostSignatures) ?? []) {
    const text = layer.annotations?.[cosignSignature];
    if (layer.mediaType !== cosignPayload || text === undefined) continue;
    const signature = bytesOf(text);
    if (signature === undefined) continue;
    signatures.push({ kind: 'sigstore', payload: await documentOf(layout, layer.digest), signature });
  }
  return signatures;
}

/** A whole blob, which has to be what its digest says: the host can change the folder at any time. */
async function documentOf(layout: OciLayout, digest: string): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const piece of layout.pieces(digest)) {
    length += piece.length;
    if (length > largestDocument) break;
    parts.push(piece.slice());
  }
  const bytes = Buffer.concat(parts);
  const found = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
  if (length <= largestDocument && found === digest) return bytes;
  throw new MalformedError({
    structure: 'image layout',
    field: `blob ${digest}`,
    offset: 0,
    expected: `at most ${largestDocument} bytes with that digest`,
    found: length > largestDocument ? 'more' : found,
  });
}

function bytesOf(text: string): Uint8Array | undefined {
  try {
    return fromBase64(text);
  } catch (error) {
    if (error instanceof InvalidArgumentError) return undefined;
    throw error;
  }
}
