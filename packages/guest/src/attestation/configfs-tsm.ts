import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { InvalidArgumentError, snpReportSize, UnavailableError } from '@vouchsafe/sev';
import {
  type AttestationDevice,
  type AttestationEvidence,
  type ReportRequest,
  RequestRefusedError,
  requireReportRequest,
} from './attestation-device.js';
import { codeOf, type TsmFiles, tsmFiles } from './tsm-files.js';

/** Where linux (since 6.7) has its attestation reports, in a guest with configfs mounted. */
export const linuxTsmFolder = '/sys/kernel/config/tsm/report';

export interface ConfigfsTsmOptions {
  /** {@link linuxTsmFolder} when absent. */
  readonly folder?: string;
  readonly files?: TsmFiles;
}

const conflictsLimit = 5;
const largestBlob = 1024 * 1024;
const longestText = 4096;

/**
 * Reports from configfs-tsm (linux Documentation/ABI/testing/configfs-tsm-report), with plain file operations. Each call
 * makes an entry with a name of its own and removes it again, and still checks by the entry's generation that nobody
 * else wrote into it. The kernel offers no derived keys there.
 */
export function configfsTsmDevice(options: ConfigfsTsmOptions = {}): AttestationDevice {
  const { folder = linuxTsmFolder, files = tsmFiles() } = options;
  let closed = false;
  return {
    kind: 'configfs-tsm',
    async report(request) {
      requireReportRequest(request);
      if (closed) throw new UnavailableError('configfs-tsm', 'the device has been closed');
      const entry = join(folder, `vouchsafe-${randomBytes(8).toString('hex')}`);
      await files.makeEntry(entry).catch((error: unknown) => {
        throw unavailable(folder, 'no entry can be made', error, folderHint(codeOf(error), folder));
      });
      try {
        return await readEntry(files, entry, request);
      } finally {
        // The report is made, or an error is on its way that says more than this one could.
        await files.removeEntry(entry).catch(() => undefined);
      }
    },
    async deriveKey() {
      throw new UnavailableError('configfs-tsm', 'the kernel gives reports there, and no derived keys', {
        hint: 'use the device /dev/sev-guest',
      });
    },
    async close() {
      closed = true;
    },
  };
}

async function readEntry(
  files: TsmFiles,
  entry: string,
  { reportData, vmpl }: ReportRequest,
): Promise<AttestationEvidence> {
  const text = async (name: string) =>
    new TextDecoder().decode(
      await files.read(join(entry, name), longestText).catch((error: unknown) => {
        throw unavailable(entry, `${name} cannot be read`, error);
      }),
    );
  const provider = (await text('provider')).trim();
  if (provider !== 'sev_guest') {
    throw new UnavailableError('configfs-tsm', `its reports come from ${JSON.stringify(provider)}`, {
      hint: 'this is not a SEV-SNP guest, or its kernel lacks the sev-guest driver',
    });
  }
  const generation = async () => {
    const read = (await text('generation')).trim();
    if (/^\d{1,20}$/.test(read)) return BigInt(read);
    throw new UnavailableError('configfs-tsm', `its generation is ${JSON.stringify(read)}, not a number`);
  };

  for (let conflicts = 0; conflicts < conflictsLimit; conflicts++) {
    const before = await generation();
    if (vmpl !== undefined) await writePrivilege(files, entry, vmpl, text);
    await files.write(join(entry, 'inblob'), reportData).catch((error: unknown) => {
      throw unavailable(entry, 'inblob cannot be written', error);
    });
    const report = await files.read(join(entry, 'outblob'), largestBlob).catch((error: unknown) => {
      throw reportError(entry, error);
    });
    const table = await files.read(join(entry, 'auxblob'), largestBlob).catch((error: unknown) => {
      throw reportError(entry, error);
    });
    const writes = vmpl === undefined ? 1n : 2n;
    if ((await generation()) !== before + writes) continue;
    if (report.length !== snpReportSize)
      throw new UnavailableError(
        'configfs-tsm',
        `its report has ${report.length} bytes, not ${snpReportSize}`,
      );
    return { report, ...(table.length === 0 ? {} : { certificateTable: table }) };
  }
  throw new UnavailableError('configfs-tsm', `somebody else writes into ${entry}, again and again`);
}

async function writePrivilege(
  files: TsmFiles,
  entry: string,
  vmpl: number,
  text: (name: string) => Promise<string>,
): Promise<void> {
  try {
    await files.write(join(entry, 'privlevel'), new TextEncoder().encode(`${vmpl}\n`));
  } catch (error) {
    if (codeOf(error) !== 'EINVAL') throw unavailable(entry, 'privlevel cannot be written', error);
    const floor = (await text('privlevel_floor')).trim();
    throw new InvalidArgumentError('VMPL', `this guest gets reports for ${floor} to 3, not for ${vmpl}`);
  }
}

function unavailable(where: string, message: string, cause: unknown, hint?: string): UnavailableError {
  const code = codeOf(cause);
  const said = code === undefined ? '' : `: the system answered ${code}`;
  return new UnavailableError('configfs-tsm', `${where}: ${message}${said}`, { cause, hint });
}

/** EINVAL: the firmware refused the request. Anything else: there was no answer of it. */
function reportError(entry: string, error: unknown): Error {
  const code = codeOf(error);
  if (code === 'EINVAL') return new RequestRefusedError('report', undefined);
  const hints: Readonly<Record<string, string>> = {
    ETIMEDOUT: 'the host is busy or throttles its guests: try again later',
    EBUSY: 'the host is busy or throttles its guests: try again later',
    EIO: 'the kernel’s log says what the firmware or the host answered (dmesg | grep sev-guest)',
    ENOTTY: 'the kernel wiped its key after an answer that it could not trust: start the guest anew',
    ENXIO: 'the kernel’s log says what the firmware answered (dmesg | grep sev-guest)',
  };
  return unavailable(entry, 'no report was given', error, code === undefined ? undefined : hints[code]);
}

function folderHint(code: string | undefined, folder: string): string | undefined {
  if (code === 'ETIMEDOUT') return 'its server is gone: remove the folder and serve it again';
  if (folder !== linuxTsmFolder) return code === 'ENOENT' ? 'name the folder that is served' : undefined;
  if (code === 'EACCES' || code === 'EPERM') return 'only root may ask for reports';
  if (code === 'ENXIO')
    return 'load the module sev-guest; outside a SEV-SNP guest there is nothing to load it for';
  return 'mount configfs (mount -t configfs none /sys/kernel/config), and use a kernel with CONFIG_TSM_REPORTS';
}
