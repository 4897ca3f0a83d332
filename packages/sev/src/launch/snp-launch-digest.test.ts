import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { fromHex, toHex, u32le } from '../bytes.js';
import { InvalidArgumentError, MalformedError } from '../errors.js';
import { measureCases } from '../testing/measure-cases.js';
import { secondDigest } from '../testing/second-digest.js';
import { snpImage, type TestImage, usualSections } from '../testing/snp-image.js';
import { describeWithVectors, vectors } from '../testing/vectors.js';
import { firmwareFooterGuids, hashTableAreaEntry } from './firmware-footer.js';
import { calculateLaunchDigest } from './launch-digest.js';
import {
  calculateSnpFirmwareDigest,
  calculateSnpLaunchDigest,
  calculateSvsmLaunchDigest,
  type SnpLaunchDigestOptions,
} from './snp-launch-digest.js';
import { vcpuSignatureOf, vcpuTypes } from './vcpu-types.js';
import { vmmTypes } from './vmm-types.js';
import { buildResetVmsa, vmsa } from './vmsa.js';

const sha384 = (bytes: Uint8Array) => createHash('sha384').update(bytes).digest('hex');

describeWithVectors('launch digest of SEV-SNP, known answers', () => {
  test.each(measureCases().map((each) => [each.id, each] as const))('%s', async (_id, known) => {
    const bytes = (name: string) => vectors(`snp/measure/${name}`);
    const firmware = bytes(known.ovmf);
    const signature = known.vcpuType === undefined ? undefined : vcpuSignatureOf(known.vcpuType);
    const boot = {
      ...(known.kernel === undefined ? {} : { kernel: new Uint8Array() }),
      ...(known.initrd === undefined ? {} : { initrd: new Uint8Array() }),
      ...(known.append === undefined ? {} : { append: known.append }),
    };
    const calculate = async (extra: Partial<SnpLaunchDigestOptions> = {}): Promise<Uint8Array> => {
      switch (known.mode) {
        case 'snp:ovmf-hash':
          return calculateSnpFirmwareDigest(firmware);
        case 'snp':
          return (
            await calculateSnpLaunchDigest({
              ...boot,
              firmware,
              vcpus: known.vcpus!,
              vcpuSignature: signature,
              vmmType: known.vmm,
              guestFeatures: BigInt(known.guestFeatures!),
              ...extra,
            })
          ).digest;
        case 'snp:svsm':
          return (
            await calculateSvsmLaunchDigest({
              firmware,
              svsm: bytes(known.svsm!),
              varsSize: known.varsSize!,
              vcpus: known.vcpus!,
              vcpuSignature: signature!,
            })
          ).digest;
        default:
          return (
            await calculateLaunchDigest({
              ...boot,
              mode: known.mode,
              firmware,
              ...(known.vcpus === undefined ? {} : { vcpus: known.vcpus }),
              ...(signature === undefined ? {} : { vcpuSignature: signature }),
            })
          ).digest;
      }
    };
    if (known.expected.startsWith('ERROR')) {
      await expect(calculate()).rejects.toMatchObject({ code: 'invalid-argument', argument: 'kernel' });
      return;
    }
    expect(toHex(await calculate())).toBe(known.expected);
    if (known.ovmfHash !== undefined) {
      const firmwareDigest = fromHex(known.ovmfHash);
      expect(toHex(await calculate({ firmwareDigest }))).toBe(known.expected);
    }
  });
});

describe('VMSA of other VMMs', () => {
  // The debugging values of the fact sheet on launch digests.
  test.each([
    [
      'ec2',
      'd08442e8bcdb6a5dcd7f22e4f7fd6979beffb9f0bb54a9d1977407fe84f482abf23c1baae6ce95a6a9e7a94c3c51f412',
    ],
    [
      'gce',
      'f9e03177dad7f4819ee193af7cfb70507d8a923ab513412e908bc73460a9dfdaa54215d58952816118ffb2ec281e7fd2',
    ],
  ] as const)('%s', (vmmType, expected) => {
    expect(sha384(buildResetVmsa({ cpu: 'boot', vmmType, sevFeatures: 1n }))).toBe(expected);
  });
});

const debianOvmf = '/usr/share/ovmf/OVMF.fd';
const signatures = ['EPYC-v4', 'EPYC-Rome', 'EPYC-Milan', 'EPYC-Genoa', 'EPYC-Turin'] as const;
const combinations = [
  ...vmmTypes.flatMap((vmmType, i) =>
    [1, 2, 3 + i].map(
      (vcpus, j) => ({ mode: 'snp', vmmType, vcpus, type: signatures[(i + j) % 5]! }) as const,
    ),
  ),
  ...[1, 2, 64].map((vcpus, j) => ({ mode: 'seves', vmmType: 'QEMU', vcpus, type: signatures[j]! }) as const),
  { mode: 'sev', vmmType: 'QEMU', vcpus: 1, type: 'EPYC-v4' } as const,
  { mode: 'snp', vmmType: 'QEMU', vcpus: 255, type: 'EPYC-Milan' } as const,
  { mode: 'snp:ovmf-hash', vmmType: 'QEMU', vcpus: 1, type: 'EPYC' } as const,
];

describe('launch digest of Debian’s OVMF, calculated a second time by other code', () => {
  test.for(combinations)('$mode, $vmmType, $vcpus × $type', async (each, { skip }) => {
    if (!existsSync(debianOvmf)) skip(`no ${debianOvmf}: install the package ovmf`);
    const { mode, vmmType, vcpus, type } = each;
    const firmware = new Uint8Array(readFileSync(debianOvmf));
    for (const [guestFeatures, fpu] of [
      [1n, undefined],
      [0x21n, 'zero'],
    ] as const) {
      const expected = secondDigest({
        mode,
        firmware,
        vmmType,
        vcpus,
        ...vcpuTypes[type]!,
        guestFeatures,
        fpu,
      });
      const cpus = {
        vcpus,
        vcpuSignature: vcpuSignatureOf(type),
        ...(fpu === undefined ? {} : { vmsaFpu: fpu }),
      };
      const calculated =
        mode === 'snp:ovmf-hash'
          ? await calculateSnpFirmwareDigest(firmware)
          : mode === 'snp'
            ? (await calculateSnpLaunchDigest({ firmware, ...cpus, vmmType, guestFeatures })).digest
            : (await calculateLaunchDigest({ mode, firmware, ...cpus })).digest;
      expect(toHex(calculated)).toBe(expected);
    }
  });
});

const kernel = new Uint8Array(100).fill(1);
const milan = vcpuSignatureOf('EPYC-Milan');
const base = { firmware: snpImage(), vcpus: 1, vcpuSignature: milan };

describe('launch digest of SEV-SNP', () => {
  test('names its steps in the order of measurement', async () => {
    const { steps, digest, vmsas } = await calculateSnpLaunchDigest({ ...base, kernel, vcpus: 3 });
    expect(steps.map(({ name, type, gpa, pages }) => `${name} ${type} ${gpa.toString(16)} ${pages}`)).toEqual(
      [
        'firmware NORMAL fffff000 1',
        'memory ZERO 800000 9',
        'memory ZERO 80a000 3',
        'secrets page SECRETS 80d000 1',
        'CPUID page CPUID 80e000 1',
        'SVSM calling area ZERO 80f000 1',
        'kernel hashes NORMAL 810000 1',
        'memory ZERO 811000 15',
        'VMSA of vCPU 0 VMSA fffffffff000 1',
        'VMSA of vCPU 1 VMSA fffffffff000 1',
        'VMSA of vCPU 2 VMSA fffffffff000 1',
      ],
    );
    expect(steps.at(-1)?.digest).toEqual(digest);
    expect(steps[0]?.digest).toEqual(await calculateSnpFirmwareDigest(base.firmware));
    expect(vmsas).toHaveLength(3);
    expect(vmsas[1]).toEqual(vmsas[2]);
    expect(vmsas[0]).not.toEqual(vmsas[1]);
  });

  test('Amazon has the CPUID page last, Google does not measure memory', async () => {
    const order = async (vmmType: 'ec2' | 'gce') =>
      (await calculateSnpLaunchDigest({ ...base, vmmType })).steps.map(({ type }) => type);
    expect(await order('ec2')).toEqual([
      'NORMAL',
      'ZERO',
      'ZERO',
      'SECRETS',
      'ZERO',
      'ZERO',
      'ZERO',
      'CPUID',
      'VMSA',
    ]);
    expect(await order('gce')).toEqual([
      'NORMAL',
      'UNMEASURED',
      'UNMEASURED',
      'SECRETS',
      'CPUID',
      'ZERO',
      'ZERO',
      'UNMEASURED',
      'VMSA',
    ]);
  });

  test('every input changes it', async () => {
    const whole: SnpLaunchDigestOptions = { ...base, kernel, initrd: kernel, append: 'quiet', vcpus: 2 };
    const changes: Partial<SnpLaunchDigestOptions>[] = [
      {},
      { firmware: snpImage({ fill: 0x91 }) },
      { firmware: snpImage({ pages: 2 }) },
      { firmwareDigest: new Uint8Array(48) },
      { kernel: new Uint8Array(101).fill(1) },
      { kernel: undefined, initrd: undefined, append: undefined },
      { initrd: undefined },
      { append: 'quiet ' },
      { vcpus: 1 },
      { vcpus: 3 },
      { vcpuSignature: 0x800f12 },
      { guestFeatures: 0x21n },
      { vmsaFpu: 'zero' },
      ...vmmTypes.slice(1).map((vmmType) => ({ vmmType })),
      { vmmType: 'ec2', vmsaFpu: 'set' },
    ];
    const digests = changes.map(async (change) =>
      toHex((await calculateSnpLaunchDigest({ ...whole, ...change })).digest),
    );
    expect(new Set(await Promise.all(digests)).size).toBe(changes.length);
  });

  test('where the firmware’s digest is known, the rest of the image does not matter', async () => {
    const firmwareDigest = await calculateSnpFirmwareDigest(snpImage({ pages: 8 }));
    const { digest } = await calculateSnpLaunchDigest({ ...base, firmware: snpImage({ pages: 8 }) });
    const resumed = await calculateSnpLaunchDigest({ ...base, firmwareDigest });
    expect(resumed.digest).toEqual(digest);
    expect(resumed.steps[0]?.name).toBe('memory');
  });

  test('only QEMU’s vCPUs need a signature', async () => {
    for (const vmmType of vmmTypes.slice(1)) {
      const without = { firmware: base.firmware, vcpus: 2, vmmType };
      const { digest } = await calculateSnpLaunchDigest(without);
      expect((await calculateSnpLaunchDigest({ ...without, vcpuSignature: milan })).digest).toEqual(digest);
    }
  });

  const noEntries: TestImage = { entries: [] };
  const placed = (area: number, size = 0x400): TestImage => ({
    entries: [hashTableAreaEntry({ base: area, size })],
  });
  test.each<[string, Partial<SnpLaunchDigestOptions>, string]>([
    ['no firmware', { firmware: new Uint8Array() }, 'firmware'],
    ['half a page of firmware', { firmware: new Uint8Array(2048) }, 'firmware'],
    ['firmware without metadata', { firmware: new Uint8Array(4096) }, 'firmware'],
    ['a short firmware digest', { firmwareDigest: new Uint8Array(32) }, 'firmware digest'],
    ['an initrd without a kernel', { initrd: kernel }, 'initrd'],
    ['a command line without a kernel', { append: '' }, 'append'],
    [
      'a kernel without a section for hashes',
      { kernel, firmware: snpImage({ sections: usualSections.filter(([, , type]) => type !== 0x10) }) },
      'kernel',
    ],
    ['a kernel without a place for hashes', { kernel, firmware: snpImage(noEntries) }, 'kernel'],
    ['a place for hashes that is too small', { kernel, firmware: snpImage(placed(0x810c00, 175)) }, 'kernel'],
    ['hashes that cross the page’s end', { kernel, firmware: snpImage(placed(0x810f51)) }, 'kernel'],
    ['hashes before the page', { kernel, firmware: snpImage(placed(0x80fc00)) }, 'kernel'],
    ['hashes after the page', { kernel, firmware: snpImage(placed(0x811c00)) }, 'kernel'],
    [
      'two pages for hashes',
      { kernel, firmware: snpImage({ sections: [[0x810000, 0x2000, 0x10]] }) },
      'kernel',
    ],
    ['no vCPUs', { vcpus: 0 }, 'vCPUs'],
    ['half a vCPU', { vcpus: 0.5 }, 'vCPUs'],
    ['a billion vCPUs', { vcpus: 1e9 }, 'vCPUs'],
    ['two vCPUs without a reset address', { vcpus: 2, firmware: snpImage(noEntries) }, 'vCPUs'],
    ['no signature', { vcpuSignature: undefined }, 'vCPU signature'],
    ['a signature of 33 bits', { vcpuSignature: 2 ** 32 }, 'vCPU signature'],
    ['an unknown VMM', { vmmType: 'xen' as 'QEMU' }, 'VMM type'],
    ['a VMM named like a property of objects', { vmmType: 'toString' as 'QEMU' }, 'VMM type'],
  ])('refuses %s', async (_what, change, argument) => {
    const calculation = calculateSnpLaunchDigest({ ...base, ...change });
    await expect(calculation).rejects.toThrow(InvalidArgumentError);
    await expect(calculation).rejects.toMatchObject({ argument });
  });

  test('the hashes may fill the page to its end', async () => {
    const firmware = snpImage(placed(0x810f50, 0xb0));
    await expect(calculateSnpLaunchDigest({ ...base, firmware, kernel })).resolves.toBeDefined();
  });
});

describe('hostile metadata', () => {
  test.each<[string, TestImage, string]>([
    ['an unknown section', { sections: [[0x800000, 0x1000, 5]] }, 'type'],
    ['a section of no bytes', { sections: [[0x800000, 0, 1]] }, 'size'],
    ['half a page', { sections: [[0x800000, 0x800, 1]] }, 'size'],
    ['a section between pages', { sections: [[0x800800, 0x1000, 1]] }, 'gpa'],
    ['a section beyond 4 GiB', { sections: [[0xffff_0000, 0x2_0000, 1]] }, 'size'],
    ['4 GiB of sections', { sections: [[0, 0xffff_e000, 1]] }, 'size'],
    [
      '256 MiB and a page',
      {
        sections: [
          [0, 0x1000_0000, 1],
          [0x1000_0000, 0x1000, 1],
        ],
      },
      'size',
    ],
    [
      'a section twice',
      {
        sections: [
          [0x800000, 0x1000, 1],
          [0x800000, 0x1000, 1],
        ],
      },
      'gpa',
    ],
    [
      'sections that overlap by a page',
      {
        sections: [
          [0x800000, 0x3000, 1],
          [0x7ff000, 0x2000, 4],
        ],
      },
      'gpa',
    ],
    [
      'a section inside another',
      {
        sections: [
          [0x800000, 0x3000, 1],
          [0x801000, 0x1000, 2],
        ],
      },
      'gpa',
    ],
    ['a section over the firmware', { sections: [[0xffff_e000, 0x2000, 1]] }, 'gpa'],
    ['two secrets pages in one section', { sections: [[0x800000, 0x2000, 2]] }, 'size'],
    ['two CPUID pages in one section', { sections: [[0x800000, 0x2000, 3]] }, 'size'],
    ['more sections than there are', { count: 1000 }, 'length'],
    ['four billion sections', { count: 0xffff_ffff }, 'length'],
  ])('%s', async (_what, image, field) => {
    const firmware = snpImage(image);
    const began = performance.now();
    const refusal = calculateSnpLaunchDigest({ ...base, firmware });
    await expect(refusal).rejects.toThrow(MalformedError);
    await expect(refusal).rejects.toMatchObject({ field });
    expect(performance.now() - began).toBeLessThan(2000);
  });

  test('says where in the image the section is described', async () => {
    const sections = [...usualSections, [0x800000, 0x1000, 1]] as const;
    const firmware = snpImage({ sections });
    const at = firmware.findIndex((_, i) => toHex(firmware.subarray(i, i + 4)) === '41534556') + 16 + 7 * 12;
    await expect(calculateSnpLaunchDigest({ ...base, firmware })).rejects.toMatchObject({
      structure: 'SEV metadata descriptor 7',
      offset: at,
      found: 'memory of MEMORY at 0x800000',
    });
  });

  test('the most memory that is launched takes no time', async () => {
    const firmware = snpImage({ sections: [[0, 0x1000_0000, 1]] });
    const { steps } = await calculateSnpLaunchDigest({ ...base, firmware });
    expect(steps[1]?.pages).toBe(0x10000);
  });
});

const svsmInfo = (entry: number) => ({ guid: firmwareFooterGuids.svsmInfo, data: u32le(entry) });

describe('SVSM', () => {
  const svsm = snpImage({
    sections: [
      [0x1000, 0x1000, 2],
      [0x2000, 0x1000, 3],
    ],
    entries: [svsmInfo(16)],
  });
  const guest = { firmware: snpImage(), svsm, varsSize: 0x2000, vcpus: 2, vcpuSignature: milan };

  test('lies below the variables, has its own sections and starts every vCPU alike', async () => {
    const { steps, vmsas } = await calculateSvsmLaunchDigest(guest);
    expect(steps.map(({ name, gpa }) => `${name} ${gpa.toString(16)}`)).toEqual([
      'firmware fffff000',
      'SVSM ffffc000',
      'secrets page 1000',
      'CPUID page 2000',
      'VMSA of vCPU 0 fffffffff000',
      'VMSA of vCPU 1 fffffffff000',
    ]);
    expect(vmsas[0]).toEqual(vmsas[1]);
    expect(vmsa.parse(vmsas[0]!)).toMatchObject({
      es: { selector: 0x10, attrib: 0xc93, limit: 0xffffffff, base: 0n },
      cs: { selector: 8, attrib: 0xc9b, limit: 0xffffffff, base: 0n },
      gs: { selector: 0, attrib: 0x93, limit: 0xffff, base: 0n },
      tr: { selector: 0, attrib: 0x8b, limit: 0xffff, base: 0n },
      cr0: 0x11n,
      rip: 0xffffc010n,
      rdx: BigInt(milan),
      sevFeatures: 1n,
      mxcsr: 0x1f80,
      x87Fcw: 0,
    });
  });

  test('every input changes the digest', async () => {
    const changes: Partial<typeof guest & { vmsaFpu: 'zero' }>[] = [
      {},
      { firmware: snpImage({ fill: 1 }) },
      { svsm: snpImage({ sections: [[0x1000, 0x1000, 2]], entries: [svsmInfo(16)] }) },
      {
        svsm: snpImage({
          sections: [
            [0x1000, 0x1000, 2],
            [0x2000, 0x1000, 3],
          ],
          entries: [svsmInfo(17)],
        }),
      },
      { varsSize: 0x3000 },
      { vcpus: 1 },
      { vcpuSignature: 1 },
      { vmsaFpu: 'zero' },
    ];
    const digests = changes.map(async (change) =>
      toHex((await calculateSvsmLaunchDigest({ ...guest, ...change })).digest),
    );
    expect(new Set(await Promise.all(digests)).size).toBe(changes.length);
  });

  test.each<[string, Partial<typeof guest>, string]>([
    ['an image without an entry', { svsm: snpImage() }, 'SVSM'],
    ['an entry outside the image', { svsm: snpImage({ entries: [svsmInfo(4096)] }) }, 'SVSM'],
    ['variables of half a page', { varsSize: 0x800 }, 'size of the variables'],
    ['variables of negative size', { varsSize: -0x1000 }, 'size of the variables'],
    ['variables of 4 GiB', { varsSize: 2 ** 32 }, 'size of the variables'],
    ['no vCPUs', { vcpus: 0 }, 'vCPUs'],
    ['no firmware', { firmware: new Uint8Array() }, 'firmware'],
  ])('refuses %s', async (_what, change, argument) => {
    const calculation = calculateSvsmLaunchDigest({ ...guest, ...change });
    await expect(calculation).rejects.toThrow(InvalidArgumentError);
    await expect(calculation).rejects.toMatchObject({ argument });
  });

  test('refuses a section over the SVSM itself', async () => {
    const over = snpImage({ sections: [[0xffffc000, 0x1000, 1]], entries: [svsmInfo(0)] });
    await expect(calculateSvsmLaunchDigest({ ...guest, svsm: over })).rejects.toMatchObject({
      found: 'memory of the SVSM at 0xffffc000',
    });
  });
});
