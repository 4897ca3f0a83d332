import { stat } from 'node:fs/promises';
import {
  calculateLaunchDigest,
  calculateSnpFirmwareDigest,
  calculateSnpLaunchDigest,
  calculateSvsmLaunchDigest,
  fromHex,
  InvalidArgumentError,
  type SnpLaunchDigest,
  summarizeLaunchParts,
  toHex,
  type VmmType,
  type VmsaFpu,
  vmmProfiles,
} from '@vouchsafe/sev';
import { fileError, readInput } from '../../frame/files.js';
import type { Io } from '../../frame/io.js';
import { type BootInputs, readBootFiles, readFirmware } from '../launch-inputs.js';
import { readVcpuSignature, type VcpuInputs } from '../vcpu.js';
import { type DigestMode, readFeatures } from './options.js';

export interface LaunchInput extends VcpuInputs {
  readonly mode: DigestMode;
  readonly ovmf: string;
  readonly kernel: string | undefined;
  readonly initrd: string | undefined;
  readonly append: string | undefined;
  readonly vcpus: number | undefined;
  readonly vmmType: VmmType;
  readonly guestFeatures: string | undefined;
  readonly vmsaFpu: VmsaFpu | undefined;
  readonly snpOvmfHash: string | undefined;
  readonly svsm: string | undefined;
  readonly varsSize: number | undefined;
  readonly varsFile: string | undefined;
}

/** A digest and what it came from, for JSON and for a table. */
export interface LaunchResult {
  readonly digest: Uint8Array;
  /** What else the JSON document tells. */
  readonly facts: Readonly<Record<string, unknown>>;
  readonly headings: readonly string[];
  readonly rows: readonly (readonly string[])[];
  /** The page of each vCPU, where they are measured. */
  readonly vmsas: readonly Uint8Array[];
}

/** Calculates the digest of the launch that the options describe. */
export async function measureLaunch(input: LaunchInput, io: Io): Promise<LaunchResult> {
  requireFitting(input);
  const firmware = await readFirmware(input.ovmf, io);
  const boot = await readBootFiles(
    { kernel: input.kernel, initrd: input.initrd, commandLine: input.append },
    { initrd: '--initrd', commandLine: '--append' },
    io,
  );
  const signature = readVcpuSignature(input);
  switch (input.mode) {
    case 'snp:ovmf-hash': {
      const digest = await calculateSnpFirmwareDigest(firmware);
      const row = ['firmware', 'NORMAL', hex(2 ** 32 - firmware.length), `${firmware.length / 4096}`];
      return { digest, facts: {}, headings: snpHeadings, rows: [[...row, toHex(digest)]], vmsas: [] };
    }
    case 'snp':
      return snpLaunch(input, firmware, boot, signature);
    case 'snp:svsm':
      return svsmLaunch(input, firmware, signature, io);
    default:
      return legacyLaunch(input, firmware, boot, signature);
  }
}

async function snpLaunch(
  input: LaunchInput,
  firmware: Uint8Array,
  boot: BootInputs,
  vcpuSignature: number | undefined,
): Promise<LaunchResult> {
  const { vmmType, vmsaFpu = vmmProfiles[vmmType].fpu } = input;
  const vcpus = requireVcpus(input);
  if (vmmProfiles[vmmType].rdx === 'signature') requireSignature(input.mode, vcpuSignature);
  const guestFeatures = readFeatures(input.guestFeatures ?? '0x1', '--guest-features');
  const given = input.snpOvmfHash;
  const launched = await calculateSnpLaunchDigest({
    firmware,
    ...boot,
    vcpus,
    vcpuSignature,
    vmmType,
    guestFeatures,
    vmsaFpu,
    firmwareDigest: given === undefined ? undefined : fromHex(given, '--snp-ovmf-hash'),
  });
  return snpResult(launched, { vcpus, vcpuSignature, vmmType, guestFeatures: hex(guestFeatures), vmsaFpu });
}

async function svsmLaunch(
  input: LaunchInput,
  firmware: Uint8Array,
  signature: number | undefined,
  io: Io,
): Promise<LaunchResult> {
  if (input.svsm === undefined) throw missing('--svsm', input.mode);
  const vcpus = requireVcpus(input);
  const vcpuSignature = requireSignature(input.mode, signature);
  const { vmsaFpu = 'set' } = input;
  const varsSize = await readVarsSize(input);
  const svsm = await readInput(input.svsm, 'SVSM image', io);
  const launched = await calculateSvsmLaunchDigest({
    firmware,
    svsm,
    varsSize,
    vcpus,
    vcpuSignature,
    vmsaFpu,
  });
  return snpResult(launched, { vcpus, vcpuSignature, varsSize, vmsaFpu });
}

const snpHeadings = ['measured', 'as', 'at', 'pages', 'digest after it'];

function snpResult({ digest, steps, vmsas }: SnpLaunchDigest, facts: Record<string, unknown>): LaunchResult {
  const shown = steps.map(({ name, type, gpa, pages, digest: after }) => ({
    name,
    type,
    gpa: hex(gpa),
    pages,
    digest: toHex(after),
  }));
  return {
    digest,
    facts: { steps: shown, ...facts },
    headings: snpHeadings,
    rows: shown.map(({ name, type, gpa, pages, digest: after }) => [name, type, gpa, String(pages), after]),
    vmsas,
  };
}

async function legacyLaunch(
  input: LaunchInput,
  firmware: Uint8Array,
  boot: BootInputs,
  signature: number | undefined,
): Promise<LaunchResult> {
  const mode = input.mode === 'seves' ? 'seves' : 'sev';
  const cpus =
    mode === 'sev'
      ? undefined
      : {
          vcpus: requireVcpus(input),
          vcpuSignature: requireSignature(mode, signature),
          vmsaFpu: input.vmsaFpu ?? ('set' as const),
        };
  // Scripts give the features of SEV-SNP whatever the mode is; DebugSwap alone exists for SEV-ES.
  const sevFeatures = readFeatures(input.guestFeatures ?? '0', '--guest-features') & 0x20n;
  const { digest, parts } = await calculateLaunchDigest({ mode, firmware, ...boot, ...cpus, sevFeatures });
  const summaries = await summarizeLaunchParts(parts);
  const shown = summaries.map(({ name, size, sha256 }) => ({ name, size, sha256: toHex(sha256) }));
  return {
    digest,
    facts: { parts: shown, ...cpus },
    headings: ['measured', 'bytes', 'SHA-256'],
    rows: shown.map(({ name, size, sha256 }) => [name, String(size), sha256]),
    vmsas: parts.filter(({ name }) => name.startsWith('VMSA')).map(({ bytes }) => bytes),
  };
}

/** Options that the mode does not know would be taken as measured by whoever gave them. */
function requireFitting(input: LaunchInput): void {
  const { mode, vmmType } = input;
  const only = (modes: readonly DigestMode[], options: Readonly<Record<string, unknown>>) => {
    if (modes.includes(mode)) return;
    const given = Object.entries(options).find(([, value]) => value !== undefined);
    if (given === undefined) return;
    throw new InvalidArgumentError(given[0], `mode ${mode} does not measure it`, {
      hint: `it belongs to ${modes.join(', ')}`,
    });
  };
  only(['sev', 'seves', 'snp'], {
    '--kernel': input.kernel,
    '--initrd': input.initrd,
    '--append': input.append,
  });
  only(['snp:svsm'], {
    '--svsm': input.svsm,
    '--vars-size': input.varsSize,
    '--vars-file': input.varsFile,
  });
  only(['snp'], { '--snp-ovmf-hash': input.snpOvmfHash });
  if (vmmType !== 'QEMU' && mode !== 'snp' && mode !== 'snp:ovmf-hash') {
    throw new InvalidArgumentError(
      '--vmm-type',
      `${vmmType} launches no ${mode} guests whose digest is known`,
      {
        hint: 'leave it out: QEMU is the default',
      },
    );
  }
  if (mode === 'snp:svsm' && readFeatures(input.guestFeatures ?? '1', '--guest-features') !== 1n) {
    throw new InvalidArgumentError('--guest-features', 'an SVSM starts with SNPActive alone', {
      hint: 'leave it out',
    });
  }
}

async function readVarsSize({ varsSize, varsFile }: LaunchInput): Promise<number> {
  if ((varsSize === undefined) === (varsFile === undefined)) {
    throw new InvalidArgumentError(
      '--vars-size',
      'either it or --vars-file has to be given for mode snp:svsm',
    );
  }
  if (varsFile === undefined) return varsSize ?? 0;
  try {
    return (await stat(varsFile)).size;
  } catch (error) {
    throw fileError(error, 'variables volume', varsFile, 'read');
  }
}

function requireVcpus({ vcpus, mode }: LaunchInput): number {
  if (vcpus === undefined) throw missing('--vcpus', mode);
  return vcpus;
}

function requireSignature(mode: DigestMode, signature: number | undefined): number {
  if (signature !== undefined) return signature;
  throw new InvalidArgumentError(
    '--vcpu-type',
    `it, --vcpu-sig, or family, model and stepping have to be given for mode ${mode}`,
  );
}

const missing = (option: string, mode: DigestMode) =>
  new InvalidArgumentError(option, `it has to be given for mode ${mode}`);

const hex = (value: number | bigint) => `0x${value.toString(16)}`;
