import {
  amdPlatformRoots,
  type ChainFile,
  developmentPlatformRoot,
  InvalidArgumentError,
  MalformedError,
  type PlatformChain,
  type PlatformRoot,
  parseChainFiles,
} from '@vouchsafe/sev';
import { decodeFile, readInput } from '../../frame/files.js';
import type { Io } from '../../frame/io.js';
import { path, text } from '../../frame/options.js';

/** Options of the commands that verify a platform's chain. */
export const chainOptions = {
  ca: path('--ca <file>', 'ASK and ARK, where the files do not hold them'),
  root: path('--root <file>', 'trust this development root (an ARK certificate) instead of AMD’s roots'),
  oca: path('--oca <file>', 'certificate of the owner that the platform must have'),
  kds: text('--kds <url>', 'fetch what is missing from this key service; "amd" is AMD’s'),
};

export interface ChainInputs {
  readonly files: readonly string[];
  readonly ca: string | undefined;
  readonly root: string | undefined;
  readonly kds: string | undefined;
}

/** Reads certificates in any usual packaging, zip archives of sev-tool included, and fetches what is missing if asked. */
export async function readChain(inputs: ChainInputs, io: Io): Promise<PlatformChain> {
  const files: ChainFile[] = [];
  for (const name of [...inputs.files, ...(inputs.ca === undefined ? [] : [inputs.ca])]) {
    files.push(...(await unpacked(name, await readInput(name, 'chain', io))));
  }
  const chain = parseChainFiles(files);
  return inputs.kds === undefined ? chain : complete(chain, inputs.kds);
}

/** AMD's roots or, where one is named, a development root and no other. */
export async function trustedRoots(root: string | undefined, io: Io): Promise<readonly PlatformRoot[]> {
  if (root === undefined) return amdPlatformRoots;
  const content = await readInput(root, 'development root', io);
  return [await developmentPlatformRoot(arkOf(root, content))];
}

/** The ARK alone, or the last certificate of an ASK‖ARK bundle. */
function arkOf(name: string, content: Uint8Array): Uint8Array {
  const { bytes } = decodeFile(content, name, [832, 1600, 2 * 832, 2 * 1600]);
  const { ark } = parseChainFiles([{ name, bytes }]);
  if (ark === undefined) throw new InvalidArgumentError('--root', `${name} holds no ARK certificate`);
  return ark.raw;
}

export async function readOwner(oca: string | undefined, io: Io): Promise<Uint8Array | undefined> {
  if (oca === undefined) return undefined;
  const found = parseChainFiles([{ name: oca, bytes: await readInput(oca, 'owner’s certificate', io) }]).oca;
  if (found === undefined) throw new InvalidArgumentError('--oca', `${oca} holds no OCA certificate`);
  return found.raw;
}

async function complete(chain: PlatformChain, kds: string): Promise<PlatformChain> {
  if (chain.cek === undefined || (chain.ask !== undefined && chain.ark !== undefined)) return chain;
  const { openKeyService } = await import('../kds/service.js');
  const { askArk } = await openKeyService({ url: kds }).issuerOf(chain.cek.raw);
  const { ask, ark } = parseChainFiles([{ name: `ASK and ARK of ${kds}`, bytes: askArk }]);
  return { ...(ask === undefined ? {} : { ask }), ...(ark === undefined ? {} : { ark }), ...chain };
}

const zipMagic = [0x50, 0x4b, 0x03, 0x04];
/** Six certificates and a chain file of about 2 kB to 12 kB each; anything far larger is no export of sev-tool. */
const largestZip = 1024 * 1024;

/** The `.cert` files of a zip archive such as sev-tool's certs_export.zip; any other file as it is. */
async function unpacked(name: string, content: Uint8Array): Promise<ChainFile[]> {
  if (!zipMagic.every((byte, at) => content[at] === byte)) return [{ name, bytes: content }];
  const { unzipSync } = await import('fflate');
  const refuse = (expected: string, found: string, cause?: unknown) =>
    new MalformedError({ structure: name, field: 'zip archive', offset: 0, expected, found }, { cause });
  let room = largestZip;
  let entries: Record<string, Uint8Array>;
  try {
    entries = unzipSync(content, {
      filter({ name: entry, originalSize }) {
        if (!entry.endsWith('.cert')) return false;
        room -= originalSize;
        if (room < 0) throw refuse('certificates of 1 MiB in all, at most', 'more');
        return true;
      },
    });
  } catch (cause) {
    if (cause instanceof MalformedError) throw cause;
    throw refuse('a whole zip archive', 'one that cannot be unpacked', cause);
  }
  const files = Object.entries(entries).map(([entry, bytes]) => ({ name: `${name}, ${entry}`, bytes }));
  if (files.length === 0) throw refuse('.cert files in it', 'none');
  return files;
}
