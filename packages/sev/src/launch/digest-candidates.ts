import { toHex } from '../bytes.js';
import { digest } from '../crypto/index.js';
import { InvalidArgumentError } from '../errors.js';
import { hashesTable } from './hashes-table.js';
import { mostVcpus } from './vcpu-count.js';
import { vcpuSignatureOf, vcpuTypes } from './vcpu-types.js';
import { type VmmType, type VmsaFpu, vmmProfileOf, vmmTypes } from './vmm-types.js';

/** A file that may have been launched. */
export interface FileCandidate {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** A kernel's command line that may have been given, exactly: white space counts. */
export interface CommandLineCandidate {
  readonly name: string;
  readonly text: string;
}

/** A vCPU type that may have been chosen. */
export interface VcpuCandidate {
  readonly name: string;
  /** CPUID function 1, EAX. */
  readonly signature: number;
}

/** What a launch may have consisted of. What is left out is searched over everything usual. */
export interface LaunchCandidates {
  readonly firmware: readonly FileCandidate[];
  /** No kernel at all is tried as well, and with each kernel no initrd and no command line. */
  readonly kernels?: readonly FileCandidate[] | undefined;
  readonly initrds?: readonly FileCandidate[] | undefined;
  readonly commandLines?: readonly CommandLineCandidate[] | undefined;
  /** Numbers of vCPUs; 1 to 64 unless said otherwise. */
  readonly vcpus?: readonly number[] | undefined;
  /** Every known type unless said otherwise. */
  readonly vcpuTypes?: readonly VcpuCandidate[] | undefined;
  /** All unless said otherwise. SEV and SEV-ES guests are launched by QEMU. */
  readonly vmmTypes?: readonly VmmType[] | undefined;
  /** SEV_FEATURES; combinations of DebugSwap and SecureTSC unless said otherwise. Of these, SEV-ES knows DebugSwap. */
  readonly guestFeatures?: readonly bigint[] | undefined;
  /** Both unless said otherwise. */
  readonly vmsaFpus?: readonly VmsaFpu[] | undefined;
}

/** Candidates with the same bytes are one, with all their names. */
export interface FirmwareChoice {
  readonly names: readonly string[];
  readonly bytes: Uint8Array;
}

/** What QEMU puts into the hashes table; none of it without a kernel. */
export interface BootChoice {
  readonly kernel: readonly string[];
  readonly initrd: readonly string[];
  readonly commandLine: readonly string[];
  /** The text of the command line. */
  readonly text: string;
  readonly table: Uint8Array | undefined;
}

/** How the vCPUs may start. */
export interface VcpuChoice {
  readonly vmmType: VmmType;
  /** Absent where the VMM does not tell its guests the type before they are measured. */
  readonly vcpuType?: { readonly names: readonly string[]; readonly signature: number };
  readonly guestFeatures: bigint;
  readonly vmsaFpu: VmsaFpu;
}

/** What stands for a part that was left out. */
export const nothing = 'none';

/** Candidates without repetition, hashed. */
export interface LaunchChoices {
  readonly firmware: readonly FirmwareChoice[];
  readonly boots: readonly BootChoice[];
  readonly vcpus: readonly number[];
  readonly snp: readonly VcpuChoice[];
  readonly seves: readonly VcpuChoice[];
}

/** @throws InvalidArgumentError for a range that is empty or holds what cannot be */
export async function readCandidates(candidates: LaunchCandidates): Promise<LaunchChoices> {
  const vcpus = candidates.vcpus ?? Array.from({ length: 64 }, (_, i) => i + 1);
  const types = candidates.vmmTypes ?? vmmTypes;
  const features = candidates.guestFeatures ?? [0x1n, 0x21n, 0x201n, 0x221n];
  const fpus = candidates.vmsaFpus ?? (['set', 'zero'] as const);
  const models = bySignature(candidates.vcpuTypes ?? knownTypes());
  for (const [name, range] of Object.entries({
    firmware: candidates.firmware,
    vCPUs: vcpus,
    'VMM types': types,
    'vCPU types': models,
    'guest features': features,
    'FPU states': fpus,
  })) {
    if (range.length === 0) throw new InvalidArgumentError(name, 'at least one has to be searched');
  }
  const impossible = vcpus.find((count) => !Number.isInteger(count) || count < 1 || count > mostVcpus);
  if (impossible !== undefined) {
    throw new InvalidArgumentError('vCPUs', `expected numbers from 1 to ${mostVcpus}, found ${impossible}`);
  }
  const states = (vmmType: VmmType, all: readonly bigint[]): VcpuChoice[] => {
    const named = vmmProfileOf(vmmType).rdx === 'signature' ? models.map((vcpuType) => ({ vcpuType })) : [{}];
    return named.flatMap((model) =>
      unique(all).flatMap((guestFeatures) =>
        unique(fpus).map((vmsaFpu) => ({ vmmType, ...model, guestFeatures, vmsaFpu })),
      ),
    );
  };
  return {
    firmware: (await byContent(candidates.firmware)).map(({ names, bytes }) => ({ names, bytes })),
    boots: await bootChoices(candidates),
    vcpus: unique(vcpus).toSorted((a, b) => a - b),
    snp: unique(types).flatMap((type) => states(type, features)),
    seves: states(
      'QEMU',
      features.map((word) => word & debugSwap),
    ),
  };
}

/** The only feature that a SEV-ES guest can have. */
const debugSwap = 0x20n;

async function bootChoices(candidates: LaunchCandidates): Promise<BootChoice[]> {
  const encoder = new TextEncoder();
  const kernels = await byContent(candidates.kernels ?? []);
  const none = { name: nothing, bytes: new Uint8Array() };
  const initrds = await byContent([none, ...(candidates.initrds ?? [])]);
  const lines = [{ name: nothing, text: '' }, ...(candidates.commandLines ?? [])];
  const nul = lines.find(({ text }) => text.includes('\0'));
  if (nul !== undefined) throw new InvalidArgumentError(nul.name, 'a command line must not contain a NUL');
  const commandLines = await byContent(
    lines.map(({ name, text }) => ({ name, text, bytes: encoder.encode(`${text}\0`) })),
  );
  const measured = kernels.flatMap((kernel) =>
    initrds.flatMap((initrd) =>
      commandLines.map((commandLine) => ({
        kernel: kernel.names,
        initrd: initrd.names,
        commandLine: commandLine.names,
        text: commandLine.first.text,
        table: hashesTable.build({
          kernel: kernel.sha256,
          initrd: initrd.sha256,
          commandLine: commandLine.sha256,
        }),
      })),
    ),
  );
  const unmeasured = {
    kernel: [nothing],
    initrd: [nothing],
    commandLine: [nothing],
    text: '',
    table: undefined,
  };
  return [unmeasured, ...measured];
}

interface Distinct<T> {
  readonly names: string[];
  readonly bytes: Uint8Array;
  readonly sha256: Uint8Array;
  readonly first: T;
}

async function byContent<T extends FileCandidate>(files: readonly T[]): Promise<Distinct<T>[]> {
  const found = new Map<string, Distinct<T>>();
  for (const first of files) {
    const sha256 = await digest('sha256', first.bytes);
    const known = found.get(toHex(sha256));
    if (known === undefined) {
      found.set(toHex(sha256), { names: [first.name], bytes: first.bytes, sha256, first });
    } else if (!known.names.includes(first.name)) known.names.push(first.name);
  }
  return [...found.values()];
}

function bySignature(types: readonly VcpuCandidate[]): { names: string[]; signature: number }[] {
  const found = new Map<number, string[]>();
  for (const { name, signature } of types) found.set(signature, [...(found.get(signature) ?? []), name]);
  return [...found].map(([signature, names]) => ({ signature, names }));
}

function knownTypes(): VcpuCandidate[] {
  return Object.keys(vcpuTypes).map((name) => ({ name, signature: vcpuSignatureOf(name) }));
}

function unique<T>(values: readonly T[]): T[] {
  return [...new Set(values)];
}
