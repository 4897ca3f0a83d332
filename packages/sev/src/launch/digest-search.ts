import { concat, equalBytes } from '../bytes.js';
import { type RunningDigest, startDigest } from '../crypto/index.js';
import { VouchsafeError } from '../errors.js';
import type { BootChoice, FirmwareChoice, LaunchChoices, VcpuChoice } from './digest-candidates.js';
import { parseFirmwareFooter } from './firmware-footer.js';
import { requireMeasurableFirmware, requireRoomForHashes } from './launch-digest.js';
import { calculateSnpFirmwareDigest, type SnpFirmware, snpFirmware, vmsaGpa } from './snp-launch-digest.js';
import { extendSnpDigest, snpPageLinks } from './snp-page-measure.js';
import { hashesPage, inLaunchOrder, placeOfHashesTable, runOfSection } from './snp-sections.js';
import { type VmmProfile, vmmProfileOf } from './vmm-types.js';
import { buildResetVmsa } from './vmsa.js';

/** One launch that gives the digest. SEV measures no vCPUs. */
export interface Found {
  readonly mode: 'sev' | 'seves' | 'snp';
  readonly firmware: FirmwareChoice;
  readonly boot: BootChoice;
  readonly cpus?: { readonly vcpus: number; readonly choice: VcpuChoice };
}

/** A candidate that was not tried, or not with everything. */
export interface Untried {
  readonly name: string;
  readonly reason: string;
}

/** What one firmware image can be launched with, and the search over it. */
export interface FirmwareSearch {
  /** How many launches it goes through. */
  readonly total: number;
  /** Calls `tried` with the number of launches since the last call. */
  run(
    target: Uint8Array,
    report: { found(found: Found): void; tried(launches: number): Promise<void> },
  ): Promise<void>;
}

/**
 * Prepares the search over the SEV-SNP launches of one image: the image is hashed once, the sections before the hashes
 * table once for each way to launch them, and the digest with n vCPUs goes on from that with n − 1.
 */
export function snpSearch(
  firmware: FirmwareChoice,
  choices: LaunchChoices,
  untried: (why: Untried) => void,
): FirmwareSearch | undefined {
  const name = firmware.names[0]!;
  const image = attempt(() => snpFirmware(firmware.bytes), name, untried);
  if (image === undefined) return undefined;
  const wanted = choices.boots.some(({ table }) => table !== undefined);
  const place = wanted
    ? attempt(() => placeOfHashesTable(image.footer, image.sections), name, untried)
    : undefined;
  const boots = choices.boots.filter(({ table }) => table === undefined || place !== undefined);
  const vcpus = startable(choices.vcpus, image.footer.resetAddress, name, untried);
  const layouts = [...new Set(choices.snp.map(layoutOf))].map((layout) =>
    choices.snp.filter((choice) => layoutOf(choice) === layout),
  );
  return {
    total: boots.length * choices.snp.length * vcpus.length,
    async run(target, { found, tried }) {
      const afterImage = await calculateSnpFirmwareDigest(firmware.bytes);
      for (const layout of layouts) {
        const cpus = await Promise.all(layout.map((choice) => vcpuLinks(choice, image)));
        const sections = await sectionLinks(image, vmmProfileOf(layout[0]!.vmmType));
        const beforeTable = await extendSnpDigest(afterImage, sections.before);
        for (const boot of boots) {
          const page =
            boot.table === undefined ? sections.zero : await sections.hashes(boot.table, place ?? 0);
          const start = await extendSnpDigest(await extendSnpDigest(beforeTable, page), sections.after);
          for (const { choice, first, others } of cpus) {
            let state = await extendSnpDigest(start, first);
            for (let count = 1, at = 0; at < vcpus.length; count++) {
              if (count > 1) state = await extendSnpDigest(state, others);
              if (count !== vcpus[at]) continue;
              at++;
              if (equalBytes(state, target)) {
                found({ mode: 'snp', firmware, boot, cpus: { vcpus: count, choice } });
              }
            }
          }
          await tried(cpus.length * vcpus.length);
        }
      }
    },
  };
}

/** Launches with the same layout have all but their vCPUs in common. */
function layoutOf({ vmmType }: VcpuChoice): string {
  const { memory, cpuidLast } = vmmProfileOf(vmmType);
  return `${memory} ${cpuidLast}`;
}

async function sectionLinks(image: SnpFirmware, profile: VmmProfile) {
  const sections = inLaunchOrder(image.sections, profile);
  const table = sections.findIndex(({ name }) => name === 'KERNEL_HASHES');
  const links = async (from: number, to?: number) =>
    concat(
      ...(await Promise.all(
        sections.slice(from, to).map((each) => snpPageLinks(runOfSection(each, profile, undefined))),
      )),
    );
  const none = new Uint8Array();
  if (table < 0) return { before: await links(0), zero: none, after: none, hashes: async () => none };
  return {
    before: await links(0, table),
    zero: await links(table, table + 1),
    after: await links(table + 1),
    hashes: (bytes: Uint8Array, place: number) =>
      snpPageLinks(runOfSection(sections[table]!, profile, hashesPage(bytes, place))),
  };
}

async function vcpuLinks(choice: VcpuChoice, { footer }: SnpFirmware) {
  const links = (data: Uint8Array) => snpPageLinks({ type: 'VMSA', gpa: vmsaGpa, data });
  const { boot, application } = vmsaPages(choice, footer.resetAddress);
  const first = await links(boot);
  return { choice, first, others: application === undefined ? first : await links(application) };
}

function vmsaPages(choice: VcpuChoice, resetAddress: number | undefined) {
  const state = {
    vmmType: choice.vmmType,
    vcpuSignature: choice.vcpuType?.signature,
    sevFeatures: choice.guestFeatures,
    fpu: choice.vmsaFpu,
  };
  return {
    boot: buildResetVmsa({ ...state, cpu: 'boot' }),
    application:
      resetAddress === undefined ? undefined : buildResetVmsa({ ...state, cpu: 'application', resetAddress }),
  };
}

/** Prepares the search over the SEV and SEV-ES launches of one image; its bytes are hashed once. */
export function legacySearch(
  firmware: FirmwareChoice,
  choices: LaunchChoices,
  untried: (why: Untried) => void,
): FirmwareSearch | undefined {
  const name = firmware.names[0]!;
  if (attempt(() => requireMeasurableFirmware(firmware.bytes), name, untried) === undefined) return undefined;
  const wanted = choices.boots.some(({ table }) => table !== undefined);
  const room = wanted && attempt(() => requireRoomForHashes(firmware.bytes), name, untried) !== undefined;
  const boots = choices.boots.filter(({ table }) => table === undefined || room);
  const resetAddress = attempt(() => parseFirmwareFooter(firmware.bytes), name, untried)?.resetAddress;
  const vcpus = startable(choices.vcpus, resetAddress, name, untried);
  return {
    total: boots.length * (1 + choices.seves.length * vcpus.length),
    async run(target, { found, tried }) {
      const afterImage = startDigest('sha256');
      afterImage.update(firmware.bytes);
      const cpus = choices.seves.map((choice) => ({ choice, ...vmsaPages(choice, resetAddress) }));
      const isTarget = async (state: RunningDigest) => equalBytes(await state.copy().digest(), target);
      for (const boot of boots) {
        const start = afterImage.copy();
        if (boot.table !== undefined) start.update(boot.table);
        if (await isTarget(start)) found({ mode: 'sev', firmware, boot });
        for (const { choice, boot: first, application } of cpus) {
          const state = start.copy();
          state.update(first);
          for (let count = 1, at = 0; at < vcpus.length; count++) {
            if (count > 1 && application !== undefined) state.update(application);
            if (count !== vcpus[at]) continue;
            at++;
            if (await isTarget(state))
              found({ mode: 'seves', firmware, boot, cpus: { vcpus: count, choice } });
          }
        }
        await tried(1 + cpus.length * vcpus.length);
      }
    },
  };
}

/** The counts that can be launched: without a reset address, only the boot CPU starts. */
function startable(
  counts: readonly number[],
  resetAddress: number | undefined,
  name: string,
  untried: (why: Untried) => void,
): readonly number[] {
  if (resetAddress !== undefined || counts.every((count) => count === 1)) return counts;
  untried({ name, reason: 'it names no reset address for application CPUs, so only one vCPU was tried' });
  return counts.filter((count) => count === 1);
}

/** A candidate that cannot be launched is no failure of the search. */
function attempt<T>(work: () => T, name: string, untried: (why: Untried) => void): T | undefined {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof VouchsafeError)) throw error;
    untried({ name, reason: error.message });
    return undefined;
  }
}
