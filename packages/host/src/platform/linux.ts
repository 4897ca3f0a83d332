import {
  platformStatus,
  snpPlatformStatus,
  snpVlekLoadBuffer,
  UnavailableError,
  VouchsafeError,
} from '@vouchsafe/sev';
import { FirmwareCommandError } from './firmware-error.js';
import {
  firmwareNotCalled,
  getId2Data,
  pdhCertExportData,
  pekCertImportData,
  pekCsrData,
  SEV_ISSUE_CMD,
  type SevDeviceCommand,
  sevIssueCommand,
} from './linux-abi.js';
import {
  type IoctlDevice,
  type NativeBuffer,
  type OpenIoctlDevice,
  openIoctlDevice,
} from './linux-device.js';
import type { Platform } from './platform.js';
import {
  certificateSize,
  chainSize,
  chipIdSize,
  guestsAreRunning,
  platformInformation,
} from './platform-information.js';
import { requireHashstick, snpConfig, snpPlatformInformation } from './snp-platform.js';

export interface LinuxPlatformOptions {
  readonly open?: OpenIoctlDevice;
}

/**
 * The secure processor of this host through the kernel's ccp driver. The kernel runs INIT when a command needs it.
 * Every method throws UnavailableError when the device is not there, may not be used or does not answer, and
 * FirmwareCommandError when the processor refuses.
 */
export function linuxPlatform(
  path = '/dev/sev',
  { open = openIoctlDevice }: LinuxPlatformOptions = {},
): Platform {
  /** Opens the device for one piece of work; whatever the work placed in memory is freed behind it. */
  async function withDevice<T>(work: (session: Session) => Promise<T>): Promise<T> {
    const device = await open(path).catch((error: unknown) => {
      throw error instanceof VouchsafeError ? error : cannotOpen(path, error);
    });
    const placed: NativeBuffer[] = [];
    const place = (bytes: Uint8Array) => {
      const buffer = device.place(bytes);
      placed.push(buffer);
      return buffer;
    };
    try {
      return await work({ place, issue: (command, data) => issue(path, device, place, command, data) });
    } finally {
      for (const buffer of placed) buffer.free();
      await device.close();
    }
  }

  const plain = (command: SevDeviceCommand) => withDevice((session) => session.issue(command));

  return {
    backend: 'linux',

    status: () =>
      withDevice(async ({ place, issue }) => {
        const data = place(new Uint8Array(platformStatus.size));
        await issue('PLATFORM_STATUS', data);
        return platformInformation(data.bytes);
      }),

    chipId: () =>
      withDevice(async ({ place, issue }) => {
        const id = place(new Uint8Array(chipIdSize));
        await issue('GET_ID2', place(getId2Data.build({ address: id.address, length: id.bytes.length })));
        return id.bytes.slice();
      }),

    export: () =>
      withDevice(async ({ place, issue }) => {
        const [pdh, chain] = [place(new Uint8Array(certificateSize)), place(new Uint8Array(chainSize))];
        const where = {
          pdhAddress: pdh.address,
          pdhLength: pdh.bytes.length,
          chainAddress: chain.address,
          chainLength: chain.bytes.length,
        };
        await issue('PDH_CERT_EXPORT', place(pdhCertExportData.build(where)));
        return { pdh: pdh.bytes.slice(), chain: chain.bytes.slice() };
      }),

    signingRequest: () =>
      withDevice(async ({ place, issue }) => {
        const pek = place(new Uint8Array(certificateSize));
        await issue('PEK_CSR', place(pekCsrData.build({ address: pek.address, length: pek.bytes.length })));
        return pek.bytes.slice();
      }),

    provision: ({ pek, oca }) =>
      withDevice(async ({ place, issue }) => {
        const where = {
          pekAddress: place(pek).address,
          pekLength: pek.length,
          ocaAddress: place(oca).address,
          ocaLength: oca.length,
        };
        await issue('PEK_CERT_IMPORT', place(pekCertImportData.build(where)));
      }),

    rotate: () => plain('PDH_GEN'),
    regenerate: () => plain('PEK_GEN'),
    reset: () => plain('FACTORY_RESET'),

    snp: {
      status: () =>
        withDevice(async ({ place, issue }) => {
          const data = place(new Uint8Array(snpPlatformStatus.size));
          await issue('SNP_PLATFORM_STATUS', data);
          return snpPlatformInformation(data.bytes);
        }),

      configure: async (settings) => {
        const config = snpConfig(settings);
        await withDevice(({ place, issue }) => issue('SNP_SET_CONFIG', place(config)));
      },

      commit: () => plain('SNP_COMMIT'),

      loadVlek: async (hashstick) => {
        requireHashstick(hashstick);
        await withDevice(async ({ place, issue }) => {
          const hashstickAddress = place(hashstick).address;
          await issue('SNP_VLEK_LOAD', place(snpVlekLoadBuffer.build({ hashstickAddress })));
        });
      },
    },
  };
}

interface Session {
  place(bytes: Uint8Array): NativeBuffer;
  issue(command: SevDeviceCommand, data?: NativeBuffer): Promise<void>;
}

async function issue(
  path: string,
  device: IoctlDevice,
  place: Session['place'],
  command: SevDeviceCommand,
  data: NativeBuffer | undefined,
): Promise<void> {
  const argument = place(sevIssueCommand.build({ command, data: data?.address ?? 0n }));
  const errno = await device.ioctl(SEV_ISSUE_CMD, argument.address);
  if (errno === 0) return;
  const { error } = sevIssueCommand.parse(argument.bytes);
  const name = specificationNames[command] ?? command;
  if (error !== 0 && error !== firmwareNotCalled) throw new FirmwareCommandError(name, error);
  if (errno === 'EBUSY' && command === 'FACTORY_RESET') throw guestsAreRunning();
  if (errno === 'EINVAL' && name.startsWith('SNP_')) throw new UnavailableError(path, ...withoutSnp(name));
  const [problem, hint] = refusals[errno] ?? [
    `failed with ${errno}`,
    'look for lines of ccp in the kernel log (dmesg)',
  ];
  throw new UnavailableError(path, `${name} ${problem}`, { hint });
}

/** The specification's names of what the kernel calls otherwise. */
const specificationNames: Partial<Record<SevDeviceCommand, string>> = {
  FACTORY_RESET: 'PLATFORM_RESET',
  GET_ID2: 'GET_ID',
  SNP_SET_CONFIG: 'SNP_CONFIG',
};

const withoutSnp = (command: string) =>
  [
    `${command} needs SEV-SNP, which is not initialised here`,
    {
      hint: 'use Linux 6.11 or later on EPYC of the third generation or later, with SEV-SNP switched on in the BIOS and kvm_amd loaded with sev_snp=1',
    },
  ] as const;

/** What the kernel means by an errno when the firmware was not asked, and what to do. */
const refusals: Readonly<Record<string, readonly [problem: string, hint: string]>> = {
  EPERM: ['needs the device open for writing', 'run as root, or give your group write access to the device'],
  EBADF: ['needs the device open for writing', 'run as root, or give your group write access to the device'],
  ENOTTY: ['is not known to this device', 'name the device that the ccp driver made, usually /dev/sev'],
  EINVAL: ['is not known to this kernel', 'use Linux 5.8 or later'],
  ENODEV: [
    'found no secure processor',
    'enable SEV in the BIOS and look for lines of ccp in the kernel log (dmesg)',
  ],
  ETIMEDOUT: [
    'got no answer',
    'the secure processor is stuck: reboot the machine, cold if that does not help',
  ],
  EIO: ['failed before the firmware was called', 'look for lines of ccp in the kernel log (dmesg)'],
};

function cannotOpen(path: string, cause: unknown): UnavailableError {
  const errno = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause);
  const [problem, hint] = openFailures[errno] ?? [
    `cannot be opened (${errno})`,
    'look for lines of ccp in the kernel log (dmesg)',
  ];
  return new UnavailableError(path, problem, { hint, cause });
}

const noSev =
  'this needs an AMD EPYC host: enable SEV (SMEE, SEV-ES ASID space) in the BIOS, then `modprobe ccp kvm_amd`; ' +
  'without one, use the software processor';

const openFailures: Readonly<Record<string, readonly [problem: string, hint: string]>> = {
  ENOENT: ['there is no such device', noSev],
  ENOTDIR: ['there is no such device', noSev],
  ENODEV: ['there is no secure processor behind it', noSev],
  ENXIO: ['there is no secure processor behind it', noSev],
  EACCES: ['you may not open it', 'run as root, or let a udev rule give your group access to the device'],
  EPERM: ['you may not open it', 'run as root; inside a container the device must be passed in'],
  EISDIR: ['it is a folder, not a device', 'name the device that the ccp driver made, usually /dev/sev'],
};
