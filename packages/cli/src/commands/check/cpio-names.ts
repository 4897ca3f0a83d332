import { gunzipSync } from 'node:zlib';

/** What an initrd shows of itself to whoever holds the file: the host. */
export interface InitrdContent {
  /** Paths of its files. */
  readonly paths: readonly string[];
  /** Nothing of it was in a form that can be read here. */
  readonly unread: boolean;
}

const headSize = 110;
const largest = 1024 * 1024 * 1024;

/**
 * The paths in an initrd: cpio archives (“newc”), plain or in gzip, one behind the other with zeros between them. What
 * follows in another form, such as zstd, is left unread.
 */
export function readInitrdPaths(initrd: Uint8Array): InitrdContent {
  const paths: string[] = [];
  let at = 0;
  let rest = initrd;
  let archives = 0;
  for (;;) {
    while (at < rest.length && rest[at] === 0) at++;
    if (at >= rest.length) break;
    if (rest[at] === 0x1f && rest[at + 1] === 0x8b) {
      const unpacked = unzip(rest.subarray(at));
      if (unpacked === undefined) break;
      [rest, at] = [unpacked, 0];
      continue;
    }
    const end = readArchive(rest, at, paths);
    if (end === undefined) break;
    archives += 1;
    at = end;
  }
  return { paths, unread: archives === 0 || at < rest.length };
}

function unzip(bytes: Uint8Array): Uint8Array | undefined {
  try {
    return new Uint8Array(gunzipSync(bytes, { maxOutputLength: largest }));
  } catch {
    return undefined;
  }
}

/** Where the archive ends; undefined where there is none. */
function readArchive(bytes: Uint8Array, start: number, paths: string[]): number | undefined {
  const text = (from: number, length: number) =>
    Buffer.from(bytes.buffer, bytes.byteOffset + from, length).toString('latin1');
  for (let at = start; at + headSize <= bytes.length; ) {
    if (!/^07070[12]$/.test(text(at, 6))) return undefined;
    const field = (index: number) => Number.parseInt(text(at + 6 + 8 * index, 8), 16);
    const [size, nameSize] = [field(6), field(11)];
    const data = padded(at - start + headSize + nameSize) + start;
    const next = padded(data - start + size) + start;
    if (!(nameSize > 0 && next <= bytes.length + 3 && next > at)) return undefined;
    const name = text(at + headSize, nameSize - 1);
    if (name === 'TRAILER!!!') return next;
    paths.push(name);
    at = next;
  }
  return undefined;
}

const padded = (length: number) => Math.ceil(length / 4) * 4;
