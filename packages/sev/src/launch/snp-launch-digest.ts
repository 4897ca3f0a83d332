import { InvalidArgumentError } from '../errors.js';
import { type FirmwareFooter, parseFirmwareFooter } from './firmware-footer.js';
import { type BootFiles, buildHashesTable } from './hashes-table.js';
import {
  emptySnpDigest,
  extendSnpDigest,
  pagesOfLinks,
  type SnpPageLinks,
  type SnpPageRun,
  type SnpPageType,
  snpPageLinks,
  snpPageSize,
} from './snp-page-measure.js';
import {
  hashesPage,
  inLaunchOrder,
  placeOfHashesTable,
  readSnpSections,
  runOfSection,
  type SnpSection,
} from './snp-sections.js';
import { buildSvsmVmsa, svsmAddress, svsmEntryOf } from './svsm.js';
import { requireResetAddress, requireVcpuCount } from './vcpu-count.js';
import { type VmmType, type VmsaFpu, vmmProfileOf, vmmProfiles } from './vmm-types.js';
import { buildResetVmsa } from './vmsa.js';

export interface SnpLaunchDigestOptions {
  /** The file that is mapped below 4 GiB: the code volume, not the variables. */
  readonly firmware: Uint8Array;
  /** Digest after the firmware's pages alone, 48 bytes: they are not measured then, and the end of the file is enough. */
  readonly firmwareDigest?: Uint8Array | undefined;
  /** Given with `kernel-hashes=on`; QEMU's default leaves kernel, initrd and command line unmeasured. */
  readonly kernel?: Uint8Array | undefined;
  readonly initrd?: Uint8Array | undefined;
  /** The kernel's command line, exactly as given to the VMM. */
  readonly append?: string | undefined;
  readonly vcpus: number;
  /** CPUID function 1, EAX; needed under QEMU. */
  readonly vcpuSignature?: number | undefined;
  /** Who launches; QEMU unless said otherwise. */
  readonly vmmType?: VmmType | undefined;
  /** SEV_FEATURES; 1 unless said otherwise. */
  readonly guestFeatures?: bigint | undefined;
  /** As is usual for the VMM unless said otherwise. */
  readonly vmsaFpu?: VmsaFpu | undefined;
}

/** Pages that are launched together, and how far the digest has got with them. */
export interface SnpLaunchStep {
  readonly name: string;
  readonly type: SnpPageType;
  readonly gpa: number;
  readonly pages: number;
  /** 48 bytes: the launch digest after them. */
  readonly digest: Uint8Array;
}

export interface SnpLaunchDigest {
  /** 48 bytes: MEASUREMENT of the guest's reports. */
  readonly digest: Uint8Array;
  /** In the order of measurement. */
  readonly steps: readonly SnpLaunchStep[];
  /** The page of each vCPU, the boot CPU's first. */
  readonly vmsas: readonly Uint8Array[];
}

/** The top page of a 48-bit address space: KVM has all VMSAs measured there. */
export const vmsaGpa = 0xffff_ffff_f000;

const fourGiB = 2 ** 32;

/**
 * The launch digest of a SEV-SNP guest: firmware, the sections that its metadata asks for, one VMSA for each vCPU.
 * @throws InvalidArgumentError when the guest described cannot be launched or cannot be measured
 * @throws MalformedError when the firmware's footer or metadata is broken
 */
export async function calculateSnpLaunchDigest(options: SnpLaunchDigestOptions): Promise<SnpLaunchDigest> {
  const profile = vmmProfileOf(options.vmmType ?? 'QEMU');
  const vmsas = snpVmsas(options);
  const image = snpFirmware(options.firmware);
  const page = await kernelPage(options, image);
  const trace = new Trace(options.firmwareDigest);
  if (options.firmwareDigest === undefined) await trace.add('firmware', image.run);
  for (const section of inLaunchOrder(image.sections, profile)) {
    await trace.add(sectionTitle(section), runOfSection(section, profile, page));
  }
  await trace.addVmsas(vmsas);
  return { digest: trace.digest, steps: trace.steps, vmsas };
}

/**
 * The launch digest after the firmware's pages alone, 48 bytes: “OVMF hash” of other tools.
 * @throws InvalidArgumentError for an image that is empty, not of whole pages or larger than 4 GiB
 */
export async function calculateSnpFirmwareDigest(firmware: Uint8Array): Promise<Uint8Array> {
  return extendSnpDigest(emptySnpDigest, await snpPageLinks(firmwareRun(firmware)));
}

export interface SvsmLaunchDigestOptions {
  readonly firmware: Uint8Array;
  readonly svsm: Uint8Array;
  /** Bytes of the firmware's variables volume. */
  readonly varsSize: number;
  readonly vcpus: number;
  /** CPUID function 1, EAX. */
  readonly vcpuSignature: number;
  readonly vmsaFpu?: VmsaFpu | undefined;
}

/**
 * The launch digest of a SEV-SNP guest that QEMU launches with a separate Coconut SVSM. The sections are the SVSM's own.
 * @throws InvalidArgumentError when the guest described cannot be launched or cannot be measured
 * @throws MalformedError when the SVSM's footer or metadata is broken
 */
export async function calculateSvsmLaunchDigest(options: SvsmLaunchDigestOptions): Promise<SnpLaunchDigest> {
  const { svsm, vcpuSignature } = options;
  const vcpus = requireVcpuCount(options.vcpus);
  const firmware = firmwareRun(options.firmware);
  const entry = svsmEntryOf(svsm);
  const gpa = svsmAddress(firmware.gpa, options.varsSize, svsm.length);
  const run = { type: 'NORMAL', gpa, data: svsm } as const;
  const { sevMetadata } = parseFirmwareFooter(svsm);
  if (sevMetadata === undefined) throw new InvalidArgumentError('SVSM', 'its footer names no SEV metadata');
  const images = [rangeOf('the firmware', firmware), rangeOf('the SVSM', run)];
  const vmsa = buildSvsmVmsa({ vcpuSignature, entry: gpa + entry, fpu: options.vmsaFpu });
  const vmsas = Array.from({ length: vcpus }, () => vmsa);

  const trace = new Trace();
  await trace.add('firmware', firmware);
  await trace.add('SVSM', run);
  for (const section of readSnpSections(sevMetadata, images)) {
    await trace.add(sectionTitle(section), runOfSection(section, vmmProfiles.QEMU, undefined));
  }
  await trace.addVmsas(vmsas);
  return { digest: trace.digest, steps: trace.steps, vmsas };
}

/** A firmware image as a launch sees it. */
export interface SnpFirmware {
  readonly run: SnpPageRun;
  readonly footer: FirmwareFooter;
  readonly sections: readonly SnpSection[];
}

/**
 * @throws InvalidArgumentError for an image that cannot start a SEV-SNP guest
 * @throws MalformedError when its footer or metadata is broken
 */
export function snpFirmware(firmware: Uint8Array): SnpFirmware {
  const run = firmwareRun(firmware);
  const footer = parseFirmwareFooter(firmware);
  if (footer.sevMetadata === undefined) {
    throw new InvalidArgumentError('firmware', 'it has no SEV metadata, so it cannot start a SEV-SNP guest', {
      hint: 'use an image built with SEV-SNP support; Debian’s 4 MB images, for example, lack it',
    });
  }
  return { run, footer, sections: readSnpSections(footer.sevMetadata, [rangeOf('the firmware', run)]) };
}

function firmwareRun(firmware: Uint8Array): SnpPageRun & { readonly data: Uint8Array } {
  if (firmware.length === 0 || firmware.length % snpPageSize !== 0 || firmware.length >= fourGiB) {
    throw new InvalidArgumentError(
      'firmware',
      `expected whole pages below 4 GiB, found ${firmware.length} bytes`,
    );
  }
  return { type: 'NORMAL', gpa: fourGiB - firmware.length, data: firmware };
}

function rangeOf(name: string, { gpa, data }: { readonly gpa: number; readonly data: Uint8Array }) {
  return { name, gpa, size: data.length };
}

/** The page of hashes, or nothing where no kernel is measured. */
async function kernelPage(
  { kernel, initrd, append }: SnpLaunchDigestOptions,
  { footer, sections }: SnpFirmware,
): Promise<Uint8Array | undefined> {
  if (kernel === undefined) {
    const orphan = initrd !== undefined ? 'initrd' : append !== undefined ? 'append' : undefined;
    if (orphan !== undefined)
      throw new InvalidArgumentError(orphan, 'it is measured only together with a kernel');
    return undefined;
  }
  const place = placeOfHashesTable(footer, sections);
  const files: BootFiles = { kernel, initrd, commandLine: append };
  return hashesPage(await buildHashesTable(files), place);
}

function snpVmsas(options: SnpLaunchDigestOptions): Uint8Array[] {
  const vcpus = requireVcpuCount(options.vcpus);
  const { firmwareDigest, guestFeatures: sevFeatures = 1n, vmsaFpu: fpu, vcpuSignature, vmmType } = options;
  if (firmwareDigest !== undefined && firmwareDigest.length !== emptySnpDigest.length) {
    throw new InvalidArgumentError('firmware digest', `expected 48 bytes, found ${firmwareDigest.length}`);
  }
  const state = { vcpuSignature, vmmType, fpu, sevFeatures };
  const boot = buildResetVmsa({ ...state, cpu: 'boot' });
  if (vcpus === 1) return [boot];
  const resetAddress = requireResetAddress(parseFirmwareFooter(options.firmware));
  const application = buildResetVmsa({ ...state, cpu: 'application', resetAddress });
  return [boot, ...Array.from({ length: vcpus - 1 }, () => application)];
}

const sectionTitles: Readonly<Record<SnpSection['name'], string>> = {
  MEMORY: 'memory',
  SECRETS: 'secrets page',
  CPUID: 'CPUID page',
  SVSM_CALLING_AREA: 'SVSM calling area',
  KERNEL_HASHES: 'kernel hashes',
};

const sectionTitle = ({ name }: SnpSection) => sectionTitles[name];

class Trace {
  digest: Uint8Array;
  readonly steps: SnpLaunchStep[] = [];

  constructor(start: Uint8Array = emptySnpDigest) {
    this.digest = start;
  }

  async add(name: string, run: SnpPageRun): Promise<void> {
    await this.#extend(name, run, await snpPageLinks(run));
  }

  /** Application CPUs have the same page, so it is hashed once. */
  async addVmsas(vmsas: readonly Uint8Array[]): Promise<void> {
    let last: { page: Uint8Array; links: SnpPageLinks } | undefined;
    for (const [cpu, page] of vmsas.entries()) {
      const run = { type: 'VMSA', gpa: vmsaGpa, data: page } as const;
      if (last?.page !== page) last = { page, links: await snpPageLinks(run) };
      await this.#extend(`VMSA of vCPU ${cpu}`, run, last.links);
    }
  }

  async #extend(name: string, { type, gpa }: SnpPageRun, links: SnpPageLinks): Promise<void> {
    this.digest = await extendSnpDigest(this.digest, links);
    this.steps.push({ name, type, gpa, pages: pagesOfLinks(links), digest: this.digest });
  }
}
