import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';

export type Compression = 'none' | 'gzip' | 'zstd';

export interface TestImageOptions {
  /** Content of the one file in each layer. */
  readonly layers: readonly Uint8Array[];
  readonly compression?: Compression;
  readonly name?: string;
}

const layerType = 'application/vnd.oci.image.layer.v1.tar';
const suffixes = { none: '', gzip: '+gzip', zstd: '+zstd' } as const;

/** Makes an OCI layout with one image that container tools take, and gives the digests of its layers. */
export function makeOciImage(
  folder: string,
  { layers, compression = 'gzip', name = 'latest' }: TestImageOptions,
): string[] {
  mkdirSync(join(folder, 'blobs', 'sha256'), { recursive: true });
  const tars = layers.map((content, index) => tarOf(`file-${index}`, content));
  const described = tars.map((tar) => ({
    mediaType: `${layerType}${suffixes[compression]}`,
    ...putBlob(folder, compress(tar, compression)),
  }));
  const config = {
    architecture: 'amd64',
    os: 'linux',
    config: { Cmd: ['/bin/true'] },
    rootfs: { type: 'layers', diff_ids: tars.map(digestOf) },
    history: layers.map(() => ({ created_by: 'a test' })),
  };
  const manifest = {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: { mediaType: 'application/vnd.oci.image.config.v1+json', ...putJson(folder, config) },
    layers: described,
  };
  const entry = {
    mediaType: manifest.mediaType,
    ...putJson(folder, manifest),
    annotations: { 'org.opencontainers.image.ref.name': name },
  };
  writeFileSync(join(folder, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  writeFileSync(join(folder, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [entry] }));
  return described.map(({ digest }) => digest);
}

export interface TestDescriptor {
  mediaType: string;
  digest: string;
  size: number;
  annotations?: Record<string, string>;
}
export interface TestManifest {
  config: TestDescriptor;
  layers: TestDescriptor[];
}

/** The manifest of the first image of a layout. */
export function manifestOf(folder: string): TestManifest {
  const { manifests } = JSON.parse(readFileSync(join(folder, 'index.json'), 'utf8'));
  return JSON.parse(readFileSync(blobPath(folder, manifests[0].digest), 'utf8')) as TestManifest;
}

/** Changes the manifest of a layout's first image as a host would: digest and size in the index fit. */
export function editManifest(folder: string, change: (manifest: TestManifest) => void): void {
  const path = join(folder, 'index.json');
  const index = JSON.parse(readFileSync(path, 'utf8'));
  const manifest = manifestOf(folder);
  change(manifest);
  Object.assign(index.manifests[0], putJson(folder, manifest));
  writeFileSync(path, JSON.stringify(index));
}

export function blobPath(folder: string, digest: string): string {
  return join(folder, 'blobs', 'sha256', digest.slice('sha256:'.length));
}

export function putBlob(folder: string, content: Uint8Array): { digest: string; size: number } {
  const digest = digestOf(content);
  writeFileSync(blobPath(folder, digest), content);
  return { digest, size: content.length };
}

const putJson = (folder: string, value: unknown) =>
  putBlob(folder, new TextEncoder().encode(JSON.stringify(value)));

export const digestOf = (content: Uint8Array) =>
  `sha256:${createHash('sha256').update(content).digest('hex')}`;

function compress(content: Uint8Array, compression: Compression): Uint8Array {
  if (compression === 'gzip') return gzipSync(content);
  return compression === 'zstd' ? zstdFrame(content) : content;
}

/** A Zstandard frame (RFC 8878) of raw blocks: Node 20 has no compressor. */
function zstdFrame(content: Uint8Array): Uint8Array {
  const greatestBlock = 128 * 1024;
  const header = Buffer.alloc(9);
  header.writeUInt32LE(0xfd2fb528, 0);
  // A single segment, with the size of the content in four bytes.
  header.writeUInt8(0xa0, 4);
  header.writeUInt32LE(content.length, 5);
  const parts: Uint8Array[] = [header];
  for (let at = 0; at === 0 || at < content.length; at += greatestBlock) {
    const block = content.subarray(at, at + greatestBlock);
    const isLast = at + greatestBlock >= content.length;
    const blockHeader = Buffer.alloc(3);
    blockHeader.writeUIntLE((block.length << 3) | (isLast ? 1 : 0), 0, 3);
    parts.push(blockHeader, block);
  }
  return Buffer.concat(parts);
}

/** A tar file (POSIX ustar) with one file in it. */
function tarOf(name: string, content: Uint8Array): Uint8Array {
  const header = Buffer.alloc(512);
  header.write(name, 0);
  header.write('0000644\0' + '0000000\0' + '0000000\0', 100);
  header.write(`${content.length.toString(8).padStart(11, '0')}\0${'0'.repeat(11)}\0`, 124);
  header.write('        0', 148);
  header.write('ustar\0' + '00', 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  const padding = Buffer.alloc(((512 - (content.length % 512)) % 512) + 1024);
  return Buffer.concat([header, content, padding]);
}
