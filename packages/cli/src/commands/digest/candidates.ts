import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import {
  type CommandLineCandidate,
  type FileCandidate,
  InvalidArgumentError,
  parseFirmwareFooter,
  VouchsafeError,
} from '@vouchsafe/sev';
import { fileError, readInput } from '../../frame/files.js';
import type { Io } from '../../frame/io.js';

/** What a folder, or the options, hold of each kind. */
export interface CandidateFiles {
  readonly firmware: FileCandidate[];
  readonly kernels: FileCandidate[];
  readonly initrds: FileCandidate[];
  readonly commandLines: CommandLineCandidate[];
  /** Files that are none of these. */
  readonly ignored: string[];
}

export function noCandidates(): CandidateFiles {
  return { firmware: [], kernels: [], initrds: [], commandLines: [], ignored: [] };
}

/** A folder of candidates has some dozen files; whoever names `/` by mistake is told so. */
const mostFiles = 1000;

/**
 * Sorts the files of a folder, and of folders in it, by what they are: their first and last bytes tell, and where those
 * say nothing, their names.
 */
export async function readCandidateFolder(folder: string, io: Io): Promise<CandidateFiles> {
  const found = noCandidates();
  for (const name of await filesIn(folder)) {
    const bytes = await readInput(join(folder, name), 'candidate', io);
    switch (kindOf(name, bytes)) {
      case 'firmware':
        found.firmware.push({ name, bytes });
        break;
      case 'kernel':
        found.kernels.push({ name, bytes });
        break;
      case 'initrd':
        found.initrds.push({ name, bytes });
        break;
      case 'command line':
        found.commandLines.push(...commandLinesOf(name, bytes));
        break;
      case undefined:
        found.ignored.push(name);
    }
  }
  return found;
}

async function filesIn(folder: string): Promise<string[]> {
  try {
    const entries = await readdir(folder, { recursive: true, withFileTypes: true });
    const files = entries.filter((entry) => entry.isFile() || entry.isSymbolicLink());
    if (files.length > mostFiles) {
      throw new InvalidArgumentError(
        '--candidates',
        `${folder} holds ${files.length} files, more than ${mostFiles}`,
      );
    }
    const start = join(folder, '/').length;
    return files.map((entry) => join(entry.parentPath, entry.name).slice(start)).sort();
  } catch (error) {
    throw fileError(error, 'folder of candidates', folder, 'read');
  }
}

type Kind = 'firmware' | 'kernel' | 'initrd' | 'command line';

export function kindOf(path: string, bytes: Uint8Array): Kind | undefined {
  const name = basename(path);
  if (isFirmware(bytes)) return 'firmware';
  if (hasAt(bytes, 0x202, [0x48, 0x64, 0x72, 0x53])) return 'kernel'; // “HdrS” of a bzImage
  if (initrdBeginnings.some((beginning) => hasAt(bytes, 0, beginning))) return 'initrd';
  if (/\.txt$|^cmdline/i.test(name)) return 'command line';
  if (/^(?:vmlinu|bzimage|kernel)/i.test(name)) return 'kernel';
  if (/initr(?:d|amfs)/i.test(name)) return 'initrd';
  return /\.fd$|ovmf/i.test(name) ? 'firmware' : undefined;
}

const ascii = (text: string) => [...new TextEncoder().encode(text)];

/** Of cpio archives, and of what they are compressed with. */
const initrdBeginnings = [
  ...['070701', '070702', '070707'].map(ascii),
  [0xc7, 0x71], // cpio, old binary form
  [0x1f, 0x8b], // gzip
  [0x28, 0xb5, 0x2f, 0xfd], // zstd
  [0xfd, ...ascii('7zXZ'), 0], // xz
  [0x02, 0x21, 0x4c, 0x18], // lz4, legacy frame
  [0x5d, 0, 0], // lzma
  ascii('BZh'),
] as const;

function hasAt(bytes: Uint8Array, offset: number, expected: readonly number[]): boolean {
  return expected.every((byte, i) => bytes[offset + i] === byte);
}

/** By its footer; one that is broken still shows that firmware was meant, and the search tells what is wrong with it. */
function isFirmware(bytes: Uint8Array): boolean {
  if (bytes.length === 0 || bytes.length % 4096 !== 0) return false;
  try {
    return parseFirmwareFooter(bytes).entries.length > 0;
  } catch (error) {
    if (!(error instanceof VouchsafeError)) throw error;
    return true;
  }
}

/**
 * Each line of the file is a command line. A file that ends with a line break is tried with it as well: passing the file
 * on as it is is a usual slip.
 */
export function commandLinesOf(name: string, bytes: Uint8Array): CommandLineCandidate[] {
  const whole = new TextDecoder().decode(bytes);
  const lines = whole.split('\n').map((line) => line.replace(/\r$/, ''));
  const used = lines.flatMap((text, i) => (text.trim() === '' ? [] : [{ text, line: i + 1 }]));
  const candidates = used.map(({ text, line }) => ({
    name: used.length === 1 ? name : `${name}:${line}`,
    text,
  }));
  if (used.some(({ text }) => text === whole)) return candidates;
  return [...candidates, { name: `${name} with its line breaks`, text: whole }];
}
