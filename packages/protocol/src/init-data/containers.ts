import {
  concat,
  fromBase64,
  InvalidArgumentError,
  MalformedError,
  structure,
  toBase64,
  u32,
  u64,
} from '@vouchsafe/sev';
import { utf8Text } from '../json/utf8-text.js';
import { pack, unpack } from './gzip.js';

/**
 * Init-data on its way into a guest: as a pod's annotation, or on a disk that the host attaches. Neither is trusted: what
 * counts is that its digest is what HOST_DATA binds.
 */

/** Name of the annotation of a pod that Kata takes init-data from. */
export const initDataAnnotationName = 'io.katacontainers.config.hypervisor.cc_init_data';

/** Longest init-data in bytes. */
export const largestInitData = 4 * 1024 * 1024;
const sectorSize = 512;

/** What a disk with init-data begins with, 16 bytes. Behind it: gzip, and zeros up to a whole number of sectors. */
export const initDataDiskHeader = structure(
  { name: 'init-data disk', size: 16, source: 'kata-containers src/agent/src/initdata.rs' },
  {
    magicFirst: u32(0x00, 'the letters “init”', { equals: 0x74696e69 }),
    magicSecond: u32(0x04, 'the letters “data”', { equals: 0x61746164 }),
    length: u64(0x08, 'length of the gzip data', { unit: 'bytes' }),
  },
);

/** The annotation of a pod: base64 of gzip. @throws InvalidArgumentError for more than {@link largestInitData} bytes */
export async function initDataAnnotation(toml: string): Promise<string> {
  return toBase64(await pack(bytesOf(toml)));
}

/** Reads the annotation of a pod. @throws MalformedError */
export async function parseInitDataAnnotation(annotation: string): Promise<string> {
  let packed: Uint8Array;
  try {
    packed = fromBase64(annotation.trim());
  } catch (error) {
    if (!(error instanceof InvalidArgumentError)) throw error;
    return refuse('init-data annotation', '/', 'base64', 'something else');
  }
  return utf8Text('init-data', await unpack(packed, 'init-data annotation', largestInitData));
}

/** The image of a disk. @throws InvalidArgumentError for more than {@link largestInitData} bytes */
export async function initDataDisk(toml: string): Promise<Uint8Array> {
  const packed = await pack(bytesOf(toml));
  const header = initDataDiskHeader.build({ length: BigInt(packed.length) });
  const filled = header.length + packed.length;
  return concat(header, packed, new Uint8Array((sectorSize - (filled % sectorSize)) % sectorSize));
}

/** Whether a disk begins as one with init-data does. */
export function isInitDataDisk(bytes: Uint8Array): boolean {
  return new TextDecoder().decode(bytes.subarray(0, 8)) === 'initdata';
}

/** Reads the image of a disk. @throws MalformedError, also when anything but zeros follows the data */
export async function parseInitDataDisk(disk: Uint8Array): Promise<string> {
  const { name, size } = initDataDiskHeader;
  const { length } = initDataDiskHeader.parseAt(disk, 0);
  if (length > BigInt(disk.length - size))
    refuse(name, 'length', `at most ${disk.length - size} bytes`, `${length}`);
  const end = size + Number(length);
  const stray = disk.subarray(end).findIndex((byte) => byte !== 0);
  if (stray !== -1) refuse(name, 'padding', 'zeros', 'another byte', end + stray);
  return utf8Text('init-data', await unpack(disk.subarray(size, end), name, largestInitData));
}

function bytesOf(toml: string): Uint8Array {
  const bytes = new TextEncoder().encode(toml);
  if (bytes.length <= largestInitData) return bytes;
  throw new InvalidArgumentError(
    'init-data',
    `expected at most ${largestInitData} bytes, found ${bytes.length}`,
  );
}

function refuse(structure: string, field: string, expected: string, found: string, offset = 0): never {
  throw new MalformedError({ structure, field, offset, expected, found });
}
