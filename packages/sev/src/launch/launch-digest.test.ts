import { describe, expect, test } from 'vitest';
import { concat, fromHex, toHex } from '../bytes.js';
import { digest } from '../crypto/index.js';
import { InvalidArgumentError, MalformedError } from '../errors.js';
import { describeWithVectors, jsonVector, vectors } from '../testing/vectors.js';
import { buildFirmwareFooter, hashTableAreaEntry, resetBlockEntry } from './firmware-footer.js';
import { buildHashesTable } from './hashes-table.js';
import { calculateLaunchDigest, type LaunchDigestOptions, summarizeLaunchParts } from './launch-digest.js';
import { vcpuSignatureOf } from './vcpu-types.js';
import { buildResetVmsa } from './vmsa.js';

interface DigestCase {
  readonly mode: 'sev' | 'seves';
  readonly ovmf: string;
  readonly kernel_hex: string;
  readonly initrd_hex: string;
  readonly append: string | null;
  readonly vcpus?: number;
  readonly vcpu_type?: string;
  readonly expect: string;
}

describeWithVectors('launch digest, known answers', () => {
  const { cases } = jsonVector<{ cases: DigestCase[] }>('sev/launch-digest.json');

  test.each(cases.map((each) => [each.mode, each] as const))('%s', async (mode, known) => {
    const { digest: calculated } = await calculateLaunchDigest({
      mode,
      firmware: vectors(`sev/${known.ovmf}`),
      kernel: fromHex(known.kernel_hex),
      initrd: fromHex(known.initrd_hex),
      ...(known.append === null ? {} : { append: known.append }),
      ...(known.vcpus === undefined ? {} : { vcpus: known.vcpus }),
      ...(known.vcpu_type === undefined ? {} : { vcpuSignature: vcpuSignatureOf(known.vcpu_type) }),
    });
    expect(toHex(calculated)).toBe(known.expect);
  });
});

const milan = vcpuSignatureOf('EPYC-Milan');
const kernel = new Uint8Array(100).fill(1);

function firmwareWith(...entries: Parameters<typeof buildFirmwareFooter>[0]): Uint8Array {
  const footer = buildFirmwareFooter(entries);
  return concat(new Uint8Array(4096 - footer.length - 32).fill(0x90), footer, new Uint8Array(32));
}

const firmware = firmwareWith(resetBlockEntry(0x80b004), hashTableAreaEntry({ base: 0x810c00, size: 0x400 }));
const sha256 = (...parts: Uint8Array[]) => digest('sha256', ...parts);

describe('launch digest', () => {
  test('names its parts in the order of measurement', async () => {
    const { parts, digest: whole } = await calculateLaunchDigest({
      mode: 'seves',
      firmware,
      kernel,
      append: 'quiet',
      vcpus: 3,
      vcpuSignature: milan,
    });
    const table = await buildHashesTable({ kernel, commandLine: 'quiet' });
    const boot = buildResetVmsa({ cpu: 'boot', vcpuSignature: milan, fpu: 'set' });
    const application = buildResetVmsa({
      cpu: 'application',
      resetAddress: 0x80b004,
      vcpuSignature: milan,
      fpu: 'set',
    });
    expect(whole).toEqual(await sha256(firmware, table, boot, application, application));
    expect(await summarizeLaunchParts(parts)).toEqual([
      { name: 'firmware', size: 4096, sha256: await sha256(firmware) },
      { name: 'hashes table', size: 176, sha256: await sha256(table) },
      { name: 'VMSA of vCPU 0', size: 4096, sha256: await sha256(boot) },
      { name: 'VMSA of vCPU 1', size: 4096, sha256: await sha256(application) },
      { name: 'VMSA of vCPU 2', size: 4096, sha256: await sha256(application) },
    ]);
  });

  test('of SEV alone is that of the firmware, however many vCPUs there are', async () => {
    for (const vcpus of [1, 4]) {
      const { digest: whole } = await calculateLaunchDigest({ mode: 'sev', firmware, vcpus });
      expect(whole).toEqual(await sha256(firmware));
    }
  });

  test('takes VMSA pages as they are given', async () => {
    const vmsas = [1, 2].map((value) => new Uint8Array(4096).fill(value));
    const { digest: whole } = await calculateLaunchDigest({ mode: 'seves', firmware, vmsas });
    expect(whole).toEqual(await sha256(firmware, ...vmsas));
  });

  test('every input changes it', async () => {
    const base: LaunchDigestOptions = {
      mode: 'seves',
      firmware,
      kernel,
      initrd: kernel,
      append: 'quiet',
      vcpus: 2,
      vcpuSignature: milan,
      vmsaFpu: 'set',
    };
    const changes: Partial<LaunchDigestOptions>[] = [
      {},
      { mode: 'sev' },
      { firmware: concat(new Uint8Array(4096), firmware) },
      { kernel: new Uint8Array(101).fill(1) },
      { initrd: new Uint8Array() },
      { append: 'quiet ' },
      { vcpus: 1 },
      { vcpus: 3 },
      { vcpuSignature: vcpuSignatureOf('EPYC-Rome') },
      { vmsaFpu: 'zero' },
    ];
    const digests = changes.map(async (change) =>
      toHex((await calculateLaunchDigest({ ...base, ...change })).digest),
    );
    expect(new Set(await Promise.all(digests)).size).toBe(changes.length);
  });

  test.each<[string, LaunchDigestOptions, string]>([
    ['firmware of no bytes', { mode: 'sev', firmware: new Uint8Array() }, 'firmware'],
    ['firmware of half a block', { mode: 'sev', firmware: new Uint8Array(4088) }, 'firmware'],
    ['an initrd without a kernel', { mode: 'sev', firmware, initrd: kernel }, 'initrd'],
    ['a command line without a kernel', { mode: 'sev', firmware, append: '' }, 'append'],
    [
      'a kernel that the firmware would not check',
      { mode: 'sev', firmware: firmwareWith(), kernel },
      'kernel',
    ],
    [
      'a kernel where the hashes table does not fit',
      { mode: 'sev', firmware: firmwareWith(hashTableAreaEntry({ base: 0x1000, size: 175 })), kernel },
      'kernel',
    ],
    ['SEV-ES without a vCPU count', { mode: 'seves', firmware, vcpuSignature: milan }, 'vCPUs'],
    ['SEV-ES without vCPUs', { mode: 'seves', firmware, vcpus: 0, vcpuSignature: milan }, 'vCPUs'],
    ['SEV-ES with a billion vCPUs', { mode: 'seves', firmware, vcpus: 1e9, vcpuSignature: milan }, 'vCPUs'],
    ['SEV-ES without a vCPU type', { mode: 'seves', firmware, vcpus: 1 }, 'vCPU signature'],
    [
      'several vCPUs without a reset block',
      { mode: 'seves', firmware: firmwareWith(), vcpus: 2, vcpuSignature: milan },
      'vCPUs',
    ],
    ['no VMSA pages', { mode: 'seves', firmware, vmsas: [] }, 'VMSA pages'],
    [
      'fewer VMSA pages than vCPUs',
      { mode: 'seves', firmware, vcpus: 2, vmsas: [new Uint8Array(4096)] },
      'VMSA pages',
    ],
    ['a short VMSA page', { mode: 'seves', firmware, vmsas: [new Uint8Array(4095)] }, 'VMSA of vCPU 0'],
  ])('refuses %s', async (_what, options, argument) => {
    const calculation = calculateLaunchDigest(options);
    await expect(calculation).rejects.toThrow(InvalidArgumentError);
    await expect(calculation).rejects.toMatchObject({ argument });
  });

  test('one vCPU needs no reset block', async () => {
    const plain = { mode: 'seves', firmware: firmwareWith(), vcpus: 1, vcpuSignature: milan } as const;
    await expect(calculateLaunchDigest(plain)).resolves.toBeDefined();
  });

  test('a broken footer is malformed where it is needed', async () => {
    const broken = firmware.slice();
    broken[4096 - 50] = 17;
    broken[4096 - 49] = 0;
    await expect(calculateLaunchDigest({ mode: 'sev', firmware: broken, kernel })).rejects.toThrow(
      MalformedError,
    );
    await expect(calculateLaunchDigest({ mode: 'sev', firmware: broken })).resolves.toBeDefined();
  });
});
