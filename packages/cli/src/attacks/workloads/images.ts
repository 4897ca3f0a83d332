import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decryptImage, encryptImage, OciLayout, type OpenPacket, openPacketsWith } from '@vouchsafe/guest';
import {
  annotationPacketBytes,
  imageManifestType,
  keyIdText,
  parseAnnotationPacket,
  type ResourcePath,
} from '@vouchsafe/protocol';
import { digest, Secret, systemRandom, toHex } from '@vouchsafe/sev';
import type { Outcome, SnpAttack } from '../attack.js';
import { flipped } from '../interfering-host.js';
import { appraisedByGuest } from '../outcome.js';

/** Encrypted images, which the host stores and hands to the guest. */

const modes = ['snp'] as const;
const common = { flow: 'images', modes, refusedBy: 'guest' } as const;
const opened = 'an image that the owner did not make';
const bytesOf = (text: string) => new TextEncoder().encode(text);

const ownersKey: ResourcePath = { repository: 'owner', type: 'image-key', tag: 'web' };
const strangersKey: ResourcePath = { repository: 'stranger', type: 'image-key', tag: 'web' };

/** What the host does between the owner's encryption and the guest's decryption. */
interface Meddling {
  /** The key that the image is wrapped with, in place of the owner's. */
  readonly wrappedWith?: { readonly id: ResourcePath; readonly key: Uint8Array };
  readonly packet?: (packet: Uint8Array) => Uint8Array;
  /** What the guest finds under the id of the owner's key. */
  readonly found?: Uint8Array;
}

/** An image of one layer, which a guest decrypts that takes keys of its owner's repository only. */
async function decryptMeddled({ wrappedWith, packet = (bytes) => bytes, found }: Meddling): Promise<Outcome> {
  const folder = await mkdtemp(join(tmpdir(), 'vouchsafe-attack-'));
  try {
    const plain = await OciLayout.create(join(folder, 'plain'));
    const put = (bytes: Uint8Array) =>
      plain.writeBlob(async (write) => {
        await write(bytes);
        return { digest: `sha256:${toHex(await digest('sha256', bytes))}`, size: bytes.length };
      });
    const config = { mediaType: 'application/vnd.oci.image.config.v1+json', ...(await put(bytesOf('{}'))) };
    const layer = { mediaType: 'application/vnd.oci.image.layer.v1.tar', ...(await put(bytesOf('a layer'))) };
    await plain.putImage(
      { schemaVersion: 2, mediaType: imageManifestType, config, layers: [layer] },
      undefined,
    );

    const key = systemRandom(32);
    const { id, key: wrapping } = wrappedWith ?? { id: ownersKey, key };
    const secret = await OciLayout.create(join(folder, 'secret'));
    await encryptImage({
      ...{ from: plain, to: secret, random: systemRandom, keyId: id },
      key: Secret.copyOf(wrapping),
    });
    const keys = new Map([
      [keyIdText(ownersKey), found ?? key],
      [keyIdText(strangersKey), wrapping],
    ]);
    const open = openPacketsWith(async (name) => Secret.copyOf(keys.get(name)!));
    const openPacket: OpenPacket = (bytes) => open(packet(bytes));
    const to = await OciLayout.create(join(folder, 'opened'));
    return await appraisedByGuest(
      opened,
      async () =>
        (await decryptImage({ from: secret, to, openPacket, repositories: [ownersKey.repository] }))
          .appraisal,
    );
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

export const imageAttacks: readonly SnpAttack[] = [
  {
    ...common,
    id: 'layer-key-of-another-machine',
    title: 'The host has the layer’s packet opened with the key of another machine',
    at: 'layer.key',
    run: () => decryptMeddled({ found: systemRandom(32) }),
  },
  {
    ...common,
    id: 'annotation-packet-altered',
    title: 'The host changes one bit of a layer’s packet in the image',
    at: 'layer.key',
    run: () =>
      decryptMeddled({
        packet(bytes) {
          const packet = parseAnnotationPacket(bytes);
          return annotationPacketBytes({ ...packet, wrapped_data: flipped(packet.wrapped_data) });
        },
      }),
  },
  {
    ...common,
    id: 'key-id-of-another-owner',
    title: 'The host puts in an image whose packet names a key that the broker keeps for another owner',
    at: 'layer.key-id',
    run: () => decryptMeddled({ wrappedWith: { id: strangersKey, key: systemRandom(32) } }),
  },
];
