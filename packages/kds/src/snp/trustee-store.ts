import type { Dirent } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { MalformedError, parseCertificate, parseVek, toHex, UnavailableError } from '@vouchsafe/sev';
import type { BundleEntry } from './bundle.js';
import { checkEndorsement } from './checked-endorsement.js';
import { requestText, vcekRequest } from './endorsement-request.js';

const largestCertificate = 16384;
const mostChips = 10_000;

/**
 * Reads the offline store of Trustee: `vcek/<hwid>/bl<n>_tee<n>_snp<n>_ucode<n>[_fmc<n>]_vcek.der`, or
 * `vcek/<hwid>/vcek.der`. Product line and TCB version come from the certificates; the folder must name their chip.
 * @throws UnavailableError when the store cannot be read
 * @throws MalformedError for a certificate that is not the VCEK of its folder's chip
 */
export async function readTrusteeStore(folder: string): Promise<BundleEntry[]> {
  const root = join(folder, 'vcek');
  const entries: BundleEntry[] = [];
  for (const chip of (await list(root)).slice(0, mostChips)) {
    if (!chip.isDirectory() || !/^(?:[0-9a-fA-F]{16}|[0-9a-fA-F]{128})$/.test(chip.name)) continue;
    for (const file of await list(join(root, chip.name))) {
      if (!file.isFile() || !/^(?:[a-z0-9_]{1,64}_)?vcek\.der$/.test(file.name)) continue;
      entries.push(await readEntry(join(root, chip.name, file.name), chip.name.toLowerCase()));
    }
  }
  return entries;
}

async function readEntry(path: string, hwid: string): Promise<BundleEntry> {
  const refuse = (field: string, expected: string, found: string, cause?: unknown) =>
    new MalformedError({ structure: path, field, offset: 0, expected, found }, { cause });
  const { size } = await reading(path, () => stat(path));
  if (size > largestCertificate) throw refuse('length', `at most ${largestCertificate} bytes`, `${size}`);
  const bytes = await reading(path, async () => Uint8Array.from(await readFile(path)));
  const vek = parseVek(parseCertificate(bytes, { offset: 0, path }));
  if (vek.hwid === undefined || toHex(vek.hwid) !== hwid)
    throw refuse('hwID', hwid, vek.hwid === undefined ? 'none' : toHex(vek.hwid));
  const request = vcekRequest({ line: vek.line, chipId: vek.hwid, tcb: vek.tcb });
  try {
    await checkEndorsement(request, bytes);
  } catch (error) {
    if (!(error instanceof UnavailableError)) throw error;
    throw refuse('certificate', requestText(request), 'something else', error);
  }
  return { request, bytes };
}

const list = (folder: string): Promise<Dirent[]> =>
  reading(folder, async () => readdir(folder, { withFileTypes: true }));

async function reading<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : 'it failed';
    throw new UnavailableError('offline store', `${path} cannot be read: ${reason}`, {
      hint: 'name the folder that has `vcek` in it',
      cause,
    });
  }
}
