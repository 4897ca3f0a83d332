import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { OciLayout } from '@vouchsafe/guest';
import { imageManifestType } from '@vouchsafe/protocol';
import { toHex } from '@vouchsafe/sev';

/** The image that the demo encrypts: three layers, as a build makes them, in an OCI layout. */

export const imageName = 'latest';

/** What each layer has one file of, and how many bytes that file has. */
const layers = [
  { file: 'srv/base', size: 256 * 1024 },
  { file: 'srv/model', size: 192 * 1024 },
  { file: 'srv/credentials', size: 4 * 1024 },
] as const;

/** @returns the digests of its layers, the lowest first */
export async function makeSampleImage(
  folder: string,
  random: (length: number) => Uint8Array,
): Promise<string[]> {
  const layout = await OciLayout.create(folder);
  const put = (bytes: Uint8Array) =>
    layout.writeBlob(async (write) => {
      await write(bytes);
      return { digest: sumOf(bytes), size: bytes.length };
    });
  // Hexadecimal can be compressed, as what is in images mostly can.
  const tars = layers.map(({ file, size }) => tarOf(file, new TextEncoder().encode(toHex(random(size / 2)))));
  const blobs = [];
  for (const tar of tars)
    blobs.push({
      mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip',
      ...(await put(gzipSync(tar))),
    });
  const config = {
    architecture: 'amd64',
    os: 'linux',
    config: { Cmd: ['/srv/serve'] },
    rootfs: { type: 'layers', diff_ids: tars.map(sumOf) },
  };
  await layout.putImage(
    {
      schemaVersion: 2,
      mediaType: imageManifestType,
      config: {
        mediaType: 'application/vnd.oci.image.config.v1+json',
        ...(await put(new TextEncoder().encode(JSON.stringify(config)))),
      },
      layers: blobs,
    },
    imageName,
  );
  return blobs.map(({ digest }) => digest);
}

const sumOf = (bytes: Uint8Array) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

const block = 512;

/** A tar file (POSIX ustar) of one file. */
function tarOf(name: string, content: Uint8Array): Uint8Array {
  const octal = (value: number, digits: number) => `${value.toString(8).padStart(digits, '0')}\0`;
  const header = Buffer.alloc(block);
  header.write(name, 0);
  header.write(octal(0o644, 7) + octal(0, 7) + octal(0, 7), 100);
  header.write(octal(content.length, 11) + octal(0, 11), 124);
  header.write('        0', 148);
  header.write('ustar\0' + '00', 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${octal(sum, 6)} `, 148);
  const end = Buffer.alloc(((block - (content.length % block)) % block) + 2 * block);
  return Buffer.concat([header, content, end]);
}
