import type { HostMachine } from '@vouchsafe/firmware/mailbox';
import {
  getIdBuffer,
  pdhCertExportBuffer,
  pekCertImportBuffer,
  pekCsrBuffer,
  platformStatus,
  type SevCommandName,
  snpCommitBuffer,
  snpConfigBuffer,
  snpPlatformStatus,
  snpVlekLoadBuffer,
  UnavailableError,
  vlekHashstick,
} from '@vouchsafe/sev';
import { FirmwareCommandError } from '../platform/firmware-error.js';
import {
  firmwareNotCalled,
  getId2Data,
  pdhCertExportData,
  pekCertImportData,
  pekCsrData,
  SEV_ISSUE_CMD,
  type SevDeviceCommand,
  sevIssueCommand,
} from '../platform/linux-abi.js';
import type { OpenIoctlDevice } from '../platform/linux-device.js';
import { initialiseWhenNeeded, type Mailbox, readPlatformStatus, withMailbox } from '../platform/mailbox.js';
import { softwareSnpPlatform } from '../platform/snp-software.js';
import { initialiseSnpWhenNeeded, readSnpPlatformStatus } from '../snp/initialise.js';
import { processMemory } from './scripted-device.js';

/** What the kernel answers without asking the firmware. */
class KernelRefusal extends Error {
  readonly errno: string;
  constructor(errno: string) {
    super(errno);
    this.errno = errno;
  }
}

const longestBlob = 16 * 1024;

/**
 * The ccp driver's side of `/dev/sev`, as linux drivers/crypto/ccp/sev-dev.c does it, over a software processor: the
 * kernel's structures come in, its firmware commands go out.
 */
export function kernelDevice(machine: HostMachine, { writable = true }: { writable?: boolean } = {}) {
  const memory = processMemory();
  const initialise = (mailbox: Mailbox) => initialiseWhenNeeded(machine, mailbox);

  function copyIn(address: bigint, length: number): Uint8Array {
    if (length > longestBlob) throw new KernelRefusal('EINVAL');
    return memory.at(address, length).slice();
  }

  const handlers: Readonly<Record<SevDeviceCommand, (data: bigint, mailbox: Mailbox) => Promise<void>>> = {
    async PLATFORM_STATUS(data, mailbox) {
      memory.at(data, platformStatus.size).set(await readPlatformStatus(mailbox));
    },
    async GET_ID2(data, { place, run }) {
      const given = getId2Data.parse(memory.at(data, getId2Data.size));
      const id = await place(new Uint8Array(given.length));
      await run('GET_ID', getIdBuffer.build({ address: id.address, length: given.length }));
      memory.at(given.address, given.length).set(await id.read());
    },
    async PDH_CERT_EXPORT(data, mailbox) {
      await initialise(mailbox);
      const given = pdhCertExportData.parse(memory.at(data, pdhCertExportData.size));
      const pdh = await mailbox.place(new Uint8Array(given.pdhLength));
      const chain = await mailbox.place(new Uint8Array(given.chainLength));
      const where = { ...given, pdhAddress: pdh.address, chainAddress: chain.address };
      await mailbox.run('PDH_CERT_EXPORT', pdhCertExportBuffer.build(where));
      memory.at(given.pdhAddress, given.pdhLength).set(await pdh.read());
      memory.at(given.chainAddress, given.chainLength).set(await chain.read());
    },
    async PEK_CSR(data, mailbox) {
      requireWritable();
      await initialise(mailbox);
      const given = pekCsrData.parse(memory.at(data, pekCsrData.size));
      const pek = await mailbox.place(new Uint8Array(given.length));
      await mailbox.run('PEK_CSR', pekCsrBuffer.build({ address: pek.address, length: given.length }));
      memory.at(given.address, given.length).set(await pek.read());
    },
    async PEK_CERT_IMPORT(data, mailbox) {
      requireWritable();
      const given = pekCertImportData.parse(memory.at(data, pekCertImportData.size));
      const pek = await mailbox.place(copyIn(given.pekAddress, given.pekLength));
      const oca = await mailbox.place(copyIn(given.ocaAddress, given.ocaLength));
      await initialise(mailbox);
      const where = { ...given, pekAddress: pek.address, ocaAddress: oca.address };
      await mailbox.run('PEK_CERT_IMPORT', pekCertImportBuffer.build(where));
    },
    PEK_GEN: (_data, mailbox) => generate('PEK_GEN', mailbox),
    PDH_GEN: (_data, mailbox) => generate('PDH_GEN', mailbox),
    async FACTORY_RESET(_data, mailbox) {
      requireWritable();
      const { state } = platformStatus.parse(await readPlatformStatus(mailbox));
      if (state === 'WORKING') throw new KernelRefusal('EBUSY');
      if (state === 'INIT') await mailbox.run('SHUTDOWN');
      await mailbox.run('PLATFORM_RESET');
    },
    async SNP_PLATFORM_STATUS(data) {
      await initialiseSnp();
      memory.at(data, snpPlatformStatus.size).set(await readSnpPlatformStatus(machine));
    },
    async SNP_COMMIT(_data, { run }) {
      await initialiseSnp();
      await run('SNP_COMMIT', snpCommitBuffer.build({}));
    },
    async SNP_SET_CONFIG(data, { run }) {
      await initialiseSnp();
      requireWritable();
      await run('SNP_CONFIG', copyIn(data, snpConfigBuffer.size));
    },
    async SNP_VLEK_LOAD(data, { place, run }) {
      await initialiseSnp();
      requireWritable();
      const given = snpVlekLoadBuffer.parse(copyIn(data, snpVlekLoadBuffer.size));
      if (given.length !== snpVlekLoadBuffer.size) throw new KernelRefusal('EINVAL');
      const blob = await place(copyIn(given.hashstickAddress, vlekHashstick.size));
      await run('SNP_VLEK_LOAD', snpVlekLoadBuffer.build({ ...given, hashstickAddress: blob.address }));
    },
  };

  /** The kernel does this when it loads; where there is no SEV-SNP, its commands are EINVAL. */
  async function initialiseSnp(): Promise<void> {
    await softwareSnpPlatform(machine)
      .status()
      .catch((error: unknown) => {
        throw error instanceof UnavailableError ? new KernelRefusal('EINVAL') : error;
      });
    await initialiseSnpWhenNeeded(machine);
  }

  async function generate(command: SevCommandName, mailbox: Mailbox): Promise<void> {
    requireWritable();
    await initialise(mailbox);
    await mailbox.run(command);
  }

  function requireWritable(): void {
    if (!writable) throw new KernelRefusal('EPERM');
  }

  const open: OpenIoctlDevice = async () => ({
    place: memory.place,
    async ioctl(request, argument) {
      if (request !== SEV_ISSUE_CMD) return 'ENOTTY';
      const bytes = memory.at(argument, sevIssueCommand.size);
      const fields = sevIssueCommand.parse(bytes);
      const answer = (error: number, errno: 0 | string) => {
        bytes.set(sevIssueCommand.build({ ...fields, error }));
        return errno;
      };
      try {
        await withMailbox(machine, (mailbox) => handlers[fields.command](fields.data, mailbox));
        return answer(0, 0);
      } catch (error) {
        if (error instanceof FirmwareCommandError) return answer(error.status, 'EIO');
        if (error instanceof KernelRefusal) return answer(firmwareNotCalled, error.errno);
        throw error;
      }
    },
    close: async () => undefined,
  });
  return { open, memory };
}
