import { concat } from '@vouchsafe/sev';

/** An entry of the archive. Folders are made for the paths that need them. */
export type CpioEntry =
  | { readonly path: string; readonly bytes: Uint8Array; readonly executable?: boolean }
  | { readonly path: string; readonly target: string };

const regular = 0o100_000;
const folder = 0o040_000;
const symbolicLink = 0o120_000;

/**
 * A cpio archive in the form that Linux takes as an initramfs (“newc”, Documentation/driver-api/early-userspace/
 * buffer-format.rst). The same entries give the same bytes: owner 0, time 0, in the order of the paths, so that an image
 * that is built twice is measured once.
 */
export function buildCpio(entries: readonly CpioEntry[]): Uint8Array {
  const named = new Map(entries.map((entry) => [entry.path.replace(/^\/+/, ''), entry]));
  const folders = new Set<string>();
  for (const path of named.keys()) {
    const parts = path.split('/').slice(0, -1);
    for (const i of parts.keys()) folders.add(parts.slice(0, i + 1).join('/'));
  }
  const paths = [...new Set([...folders, ...named.keys()])].sort();
  const parts = paths.map((path, i) => {
    const entry = named.get(path);
    if (entry === undefined) return record(path, folder | 0o755, new Uint8Array(), i + 1);
    if ('target' in entry) return record(path, symbolicLink | 0o777, ascii(entry.target), i + 1);
    return record(path, regular | (entry.executable === true ? 0o755 : 0o644), entry.bytes, i + 1);
  });
  return concat(...parts, record('TRAILER!!!', 0, new Uint8Array(), 0));
}

function record(path: string, mode: number, bytes: Uint8Array, inode: number): Uint8Array {
  const name = ascii(`${path}\0`);
  const links = (mode & folder) === folder && (mode & regular) !== regular ? 2 : 1;
  const fields = [inode, mode, 0, 0, links, 0, bytes.length, 0, 0, 0, 0, name.length, 0];
  const head = ascii(`070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`);
  const size = padded(head.length + name.length);
  const whole = new Uint8Array(size + padded(bytes.length));
  whole.set(head);
  whole.set(name, head.length);
  whole.set(bytes, size);
  return whole;
}

const padded = (length: number) => Math.ceil(length / 4) * 4;
const ascii = (text: string) => new TextEncoder().encode(text);
