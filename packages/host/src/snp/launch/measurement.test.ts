import { existsSync, readFileSync } from 'node:fs';
import { buildGuestFirmware } from '@vouchsafe/guest';
import {
  calculateSnpLaunchDigest,
  parseFirmwareFooter,
  parseSnpReport,
  toHex,
  vcpuSignatureOf,
  vcpuTypes,
} from '@vouchsafe/sev';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { snpImage, type TestSection, usualSections } from '../../../../sev/src/testing/snp-image.js';
import { guestResult, reportOver, snpConfiguration, snpMachine } from '../../testing/snp-fixture.js';

/** Of Debian's package ovmf: an image for SEV-SNP without room for the hashes of a kernel. */
const debianImage = '/usr/share/ovmf/OVMF.fd';
const mebibyte = 1024 * 1024;

const images: readonly (readonly [name: string, make: (fill: number) => Uint8Array])[] = [
  ['the project’s', () => buildGuestFirmware()],
  ['the project’s, with other code', (fill) => buildGuestFirmware().fill(fill, 0x3000, 0x8000)],
  ['one with the sections of OVMF’s AmdSev build', (fill) => snpImage({ fill, pages: 3 })],
  [
    'one with its sections in another order',
    (fill) => snpImage({ fill, sections: usualSections.toReversed() }),
  ],
  [
    'one without room for kernel hashes',
    (fill) => snpImage({ fill, sections: usualSections.filter(isNoHashes) }),
  ],
  ...(existsSync(debianImage)
    ? ([['Debian’s OVMF', () => new Uint8Array(readFileSync(debianImage))]] as const)
    : []),
];

const isNoHashes = ([, , type]: TestSection) => type !== 0x10;

const blob = fc.uint8Array({ minLength: 0, maxLength: 3000 });
const launches = fc.record({
  image: fc.integer({ min: 0, max: images.length - 1 }),
  fill: fc.integer({ min: 0, max: 255 }),
  vcpus: fc.integer({ min: 1, max: 4 }),
  vcpuType: fc.constantFrom(...Object.keys(vcpuTypes)),
  vmsaFpu: fc.constantFrom('set' as const, 'zero' as const),
  guestFeatures: fc.constantFrom(0x1n, 0x21n, 0x201n, 0x5n),
  kernel: fc.option(
    fc.record({ kernel: blob, initrd: fc.option(blob), commandLine: fc.option(fc.string()) }),
  ),
  policy: fc.constantFrom(0x30000n, 0xb0000n, 0x30133n),
});

/** The same at every run: Debian's image, where it is installed, is large, and comes in a few of them. */
const combinations = fc.sample(launches, { seed: 4, numRuns: 50 }).map((each, index) => {
  const image = index % 12 === 0 ? images.length - 1 : each.image % Math.min(images.length, 5);
  const [name, make] = images[image]!;
  const firmware = make(each.fill);
  const hasRoom = parseFirmwareFooter(firmware).sevMetadata!.sections.some(({ type }) => type === 0x10);
  const { kernel, initrd, commandLine } = (hasRoom ? each.kernel : undefined) ?? {};
  const directBoot = kernel && {
    kernel,
    ...(initrd ? { initrd } : {}),
    ...(commandLine ? { commandLine: commandLine.replaceAll('\0', ' ') } : {}),
  };
  const { vcpus, vcpuType, vmsaFpu, guestFeatures, policy } = each;
  const shown = `${vcpus} × ${vcpuType}, features 0x${guestFeatures.toString(16)}, FPU ${vmsaFpu}, ${directBoot ? 'a kernel' : 'no kernel'}`;
  return {
    title: `${index + 1}: ${name}, ${shown}`,
    configuration: {
      ...snpConfiguration,
      ...{ firmware, vcpus, vmsaFpu, guestFeatures, policy, memory: 12 * mebibyte },
      vcpuSignature: vcpuSignatureOf(vcpuType),
      ...(directBoot ? { directBoot } : {}),
    },
  };
});

describe('the measurement in a guest’s report is what its owner computes', () => {
  test.each(combinations)('$title', async ({ configuration }) => {
    const machine = snpMachine('milan', { memory: 24 * mebibyte });
    const { report } = await guestResult(machine, reportOver(new Uint8Array(64)), configuration);
    const { directBoot, ...launch } = configuration;
    const { digest } = await calculateSnpLaunchDigest({
      ...launch,
      ...(directBoot === undefined
        ? {}
        : { kernel: directBoot.kernel, initrd: directBoot.initrd, append: directBoot.commandLine }),
    });
    expect(toHex(parseSnpReport(report).measurement)).toBe(toHex(digest));
  });

  test('combinations differ in every part', () => {
    const distinct = (part: (each: (typeof combinations)[number]['configuration']) => unknown) =>
      new Set(combinations.map(({ configuration }) => String(part(configuration)))).size;
    expect(combinations).toHaveLength(50);
    expect(distinct(({ vcpus }) => vcpus)).toBe(4);
    expect(distinct(({ firmware }) => toHex(firmware.subarray(0, 0x4000)))).toBeGreaterThan(20);
    expect(distinct(({ directBoot }) => directBoot && toHex(directBoot.kernel))).toBeGreaterThan(10);
    expect(distinct(({ vcpuSignature }) => vcpuSignature)).toBeGreaterThan(3);
  });
});
