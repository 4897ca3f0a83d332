import { describe, expect, test } from 'vitest';
import { InvalidArgumentError } from '../errors.js';
import { snpImage, usualSections } from '../testing/snp-image.js';
import type { ExpectedLaunch } from './digest-differences.js';
import { type ExplainDigestOptions, explainDigest, type SearchProgress } from './digest-explain.js';
import { calculateLaunchDigest } from './launch-digest.js';
import { calculateSnpLaunchDigest, type SnpLaunchDigestOptions } from './snp-launch-digest.js';
import { vcpuSignatureOf } from './vcpu-types.js';

const file = (name: string, fill: number, size = 100) => ({ name, bytes: new Uint8Array(size).fill(fill) });
const firmware = [1, 2].map((fill) => ({ name: `OVMF-${fill}.fd`, bytes: snpImage({ fill, pages: 16 }) }));
const kernels = [11, 12, 13].map((fill) => file(`vmlinuz-${fill}`, fill));
const initrds = [21, 22].map((fill) => file(`initrd-${fill}`, fill));
const commandLines = ['quiet', 'console=ttyS0', 'console=ttyS0 quiet'].map((text, i) => ({
  name: `line-${i}`,
  text,
}));
const candidates = { firmware, kernels, initrds, commandLines };
const milan = vcpuSignatureOf('EPYC-Milan');

const vcpuModels = ['EPYC-v4', 'EPYC-Milan', 'EPYC-Milan-v1'].map((name) => ({
  name,
  signature: vcpuSignatureOf(name),
}));

const planted: SnpLaunchDigestOptions = {
  firmware: firmware[1]!.bytes,
  kernel: kernels[2]!.bytes,
  initrd: initrds[0]!.bytes,
  append: 'console=ttyS0 quiet',
  vcpus: 5,
  vcpuSignature: milan,
  guestFeatures: 0x21n,
};

async function explain(launch: SnpLaunchDigestOptions, options: Partial<ExplainDigestOptions> = {}) {
  const { digest: measurement } = await calculateSnpLaunchDigest(launch);
  return explainDigest({ ...candidates, vcpus: [1, 2, 3, 4, 5, 6], measurement, ...options });
}

const found = {
  mode: 'snp',
  firmware: ['OVMF-2.fd'],
  kernel: ['vmlinuz-13'],
  initrd: ['initrd-21'],
  commandLine: ['line-2'],
  commandLineText: 'console=ttyS0 quiet',
  vcpus: 5,
  vcpuType: { names: ['EPYC-Milan', 'EPYC-Milan-v1', 'EPYC-Milan-v2', 'EPYC-Milan-v3'], signature: milan },
  vmmType: 'QEMU',
  guestFeatures: 0x21n,
  vmsaFpu: 'set',
};

const cpuState = { vcpus: 0, vcpuType: 0, vmmType: 0, guestFeatures: 0, vmsaFpu: 0 };

describe('digest explain', () => {
  test('finds one planted launch among tens of thousands, and nothing else', async () => {
    const steps: SearchProgress[] = [];
    const { matches, tried, untried } = await explain(planted, {
      onProgress: (step) => void steps.push(step),
    });
    expect(matches).toEqual([{ combination: found, differences: [] }]);
    expect(untried).toEqual([]);
    // Firmware × (no kernel, or kernel × initrd or none × line or none) × (QEMU's types or one of four VMMs) × features × FPU × counts.
    expect(tried).toBe(2 * (1 + 3 * 3 * 4) * (5 + 4) * 4 * 2 * 6);
    expect(steps[0]).toEqual({ tried: 0, total: tried });
    expect(steps.at(-1)).toEqual({ tried, total: tried });
    expect(steps.map((step) => step.tried)).toEqual(
      steps.map((step) => step.tried).toSorted((a, b) => a - b),
    );
  });

  test.each<[string, Partial<SnpLaunchDigestOptions>, Partial<Record<keyof typeof found, unknown>>]>([
    [
      'no kernel',
      { kernel: undefined, initrd: undefined, append: undefined },
      { kernel: ['none'], initrd: ['none'], commandLine: ['none'], commandLineText: '' },
    ],
    ['no initrd', { initrd: undefined }, { initrd: ['none'] }],
    ['no command line', { append: undefined }, { commandLine: ['none'], commandLineText: '' }],
    ['other firmware', { firmware: firmware[0]!.bytes }, { firmware: ['OVMF-1.fd'] }],
    ['one vCPU', { vcpus: 1 }, { vcpus: 1 }],
    ['zero FPU', { vmsaFpu: 'zero' }, { vmsaFpu: 'zero' }],
    ...(['ec2', 'ec2-old', 'gce', 'KRUN'] as const).map(
      (vmmType) =>
        [vmmType, { vmmType }, { vmmType, vcpuType: undefined, vmsaFpu: 'zero' }] as [
          string,
          Partial<SnpLaunchDigestOptions>,
          Partial<Record<keyof typeof found, unknown>>,
        ],
    ),
  ])('finds a launch with %s', async (_what, change, difference) => {
    const { matches } = await explain({ ...planted, ...change }, { vcpus: [1, 4, 5], vcpuTypes: vcpuModels });
    expect(matches.map(({ combination }) => combination)).toEqual([
      {
        ...found,
        vcpuType: { names: ['EPYC-Milan', 'EPYC-Milan-v1'], signature: milan },
        ...difference,
      },
    ]);
  });

  test('finds launches of SEV and SEV-ES, by the length of the digest', async () => {
    const { firmware: image, kernel, initrd, append, vcpus } = planted;
    const files = { firmware: image, kernel: kernel!, initrd: initrd!, append: append! };
    const search = async (launch: Parameters<typeof calculateLaunchDigest>[0]) => {
      const { digest: measurement } = await calculateLaunchDigest(launch);
      const { matches, tried } = await explainDigest({ ...candidates, vcpus: [1, 3, 5], measurement });
      expect(tried).toBe(2 * 37 * (1 + 5 * 2 * 2 * 3));
      return matches.map(({ combination }) => combination);
    };
    const boot = Object.fromEntries(Object.entries(found).filter(([name]) => !(name in cpuState)));
    expect(await search({ mode: 'sev', ...files })).toEqual([{ ...boot, mode: 'sev' }]);
    const seves = { mode: 'seves', ...files, vcpus, vcpuSignature: milan } as const;
    const expected = { ...found, mode: 'seves', guestFeatures: 0n };
    expect(await search(seves)).toEqual([expected]);
    expect(await search({ ...seves, sevFeatures: 0x20n, vmsaFpu: 'zero' })).toEqual([
      { ...expected, guestFeatures: 0x20n, vmsaFpu: 'zero' },
    ]);
    expect(await search({ ...seves, vcpus: 1 })).toEqual([{ ...expected, vcpus: 1 }]);
    expect(await search({ mode: 'sev', firmware: image })).toMatchObject([{ mode: 'sev', kernel: ['none'] }]);
  });

  test('says plainly that nothing matches, and what was searched', async () => {
    const { matches, searched, tried } = await explain(
      { ...planted, vcpus: 7 },
      { vcpus: [6, 1, 2, 3, 9, 2] },
    );
    expect(matches).toEqual([]);
    expect(tried).toBe(2 * 37 * 9 * 4 * 2 * 5);
    expect(searched).toEqual([
      'firmware: OVMF-1.fd, OVMF-2.fd',
      'kernel: none, vmlinuz-11, vmlinuz-12, vmlinuz-13',
      'initrd: none, initrd-21, initrd-22',
      'command line: none, line-0, line-1, line-2',
      'vCPUs: 1 to 3, 6, 9',
      'vCPU type: EPYC, EPYC-Rome, EPYC-Milan, EPYC-Genoa, EPYC-Turin',
      'VMM: QEMU, ec2, ec2-old, gce, KRUN',
      'guest features: 0x1 (SNPActive), 0x21 (SNPActive, DebugSwap), 0x201 (SNPActive, SecureTSC), 0x221 (SNPActive, DebugSwap, SecureTSC)',
      'MXCSR and FCW: set, zero',
    ]);
  });

  test('searches the ranges it is given and no others', async () => {
    const ranges: Partial<ExplainDigestOptions> = {
      vcpus: [5],
      vcpuTypes: [{ name: 'mine', signature: milan }],
      vmmTypes: ['QEMU'],
      guestFeatures: [0x21n],
      vmsaFpus: ['set'],
    };
    const { matches, tried } = await explain(planted, ranges);
    expect([matches.length, tried]).toEqual([1, 2 * 37]);
    expect(matches[0]?.combination.vcpuType?.names).toEqual(['mine']);
    for (const other of [
      { vcpus: [4] },
      { vcpuTypes: [{ name: 'x', signature: 1 }] },
      { vmmTypes: ['gce'] },
      { guestFeatures: [1n] },
      { vmsaFpus: ['zero'] },
    ] as Partial<ExplainDigestOptions>[]) {
      expect((await explain(planted, { ...ranges, ...other })).matches).toEqual([]);
    }
  });

  test('names all candidates with the same contents', async () => {
    const { matches } = await explain(planted, {
      firmware: [...firmware, { name: 'copy.fd', bytes: firmware[1]!.bytes.slice() }],
      kernels: [{ name: 'again', bytes: kernels[2]!.bytes.slice() }, ...kernels],
      initrds: [...initrds, { name: 'initrd-21', bytes: initrds[0]!.bytes }],
      vcpus: [5],
    });
    expect(matches).toHaveLength(1);
    expect(matches[0]?.combination).toMatchObject({
      firmware: ['OVMF-2.fd', 'copy.fd'],
      kernel: ['again', 'vmlinuz-13'],
      initrd: ['initrd-21'],
    });
  });

  test('tells which candidates could not be launched', async () => {
    const withoutHashes = usualSections.filter(([, , type]) => type !== 0x10);
    const { matches, untried } = await explain(planted, {
      vcpus: [1, 5],
      firmware: [
        { name: 'empty', bytes: new Uint8Array() },
        { name: 'broken', bytes: snpImage({ sections: [[0x1000, 0, 1]] }) },
        { name: 'no hashes', bytes: snpImage({ sections: withoutHashes }) },
        { name: 'no reset address', bytes: snpImage({ entries: [] }) },
        ...firmware,
      ],
    });
    expect(matches).toHaveLength(1);
    expect(untried.map(({ name, reason }) => `${name}: ${reason}`)).toEqual([
      expect.stringMatching(/^empty: firmware: expected whole pages/),
      expect.stringMatching(/^broken: SEV metadata descriptor 0: size/),
      expect.stringMatching(/^no hashes: kernel: .* no SNP_KERNEL_HASHES section/),
      expect.stringMatching(/^no reset address: kernel: /),
      expect.stringMatching(/^no reset address: .* only one vCPU was tried/),
    ]);
  });

  test('legacy digests: candidates that could not be launched', async () => {
    const { digest: measurement } = await calculateLaunchDigest({
      mode: 'sev',
      firmware: new Uint8Array(16),
    });
    const { matches, untried } = await explainDigest({
      kernels,
      measurement,
      vcpus: [1, 2],
      firmware: [
        file('odd', 1, 15),
        file('short', 0, 16),
        { name: 'no area', bytes: snpImage({ entries: [] }) },
      ],
    });
    expect(matches.map(({ combination }) => combination.firmware)).toEqual([['short']]);
    expect(untried.map(({ name }) => name)).toEqual(['odd', 'short', 'short', 'no area', 'no area']);
  });

  test.each<[string, Partial<ExplainDigestOptions>]>([
    ['measurement', { measurement: new Uint8Array(47) }],
    ['firmware', { firmware: [] }],
    ['vCPUs', { vcpus: [] }],
    ['vCPUs', { vcpus: [0] }],
    ['vCPUs', { vcpus: [1.5] }],
    ['vCPUs', { vcpus: [5000] }],
    ['vCPU types', { vcpuTypes: [] }],
    ['VMM types', { vmmTypes: [] }],
    ['VMM type', { vmmTypes: ['xen' as 'QEMU'] }],
    ['guest features', { guestFeatures: [] }],
    ['FPU states', { vmsaFpus: [] }],
    ['bad', { commandLines: [{ name: 'bad', text: 'a\0b' }] }],
    ['expected firmware', { expected: { firmware: 'x' } }],
    ['expected kernel', { expected: { kernel: 'x' } }],
    ['expected initrd', { expected: { initrd: 'x' } }],
    ['expected commandLine', { expected: { commandLine: 'x' } }],
    [
      'candidates',
      {
        vcpus: Array.from({ length: 4096 }, (_, i) => i + 1),
        guestFeatures: Array.from({ length: 200 }, (_, i) => BigInt(i)),
      },
    ],
  ])('refuses an impossible %s', async (argument, change) => {
    const search = explainDigest({ ...candidates, measurement: new Uint8Array(48), ...change });
    await expect(search).rejects.toThrow(InvalidArgumentError);
    await expect(search).rejects.toMatchObject({ argument });
  });
});

describe('how a launch differs from the expected one', () => {
  const expected: ExpectedLaunch = {
    firmware: 'OVMF-2.fd',
    kernel: 'vmlinuz-13',
    initrd: 'initrd-21',
    commandLine: 'line-2',
    vcpus: 5,
    vcpuSignature: milan,
    vmmType: 'QEMU',
    guestFeatures: 0x21n,
    vmsaFpu: 'set',
  };
  const narrow: Partial<ExplainDigestOptions> = {
    vcpus: [1, 5],
    vcpuTypes: vcpuModels,
    vmmTypes: ['QEMU', 'gce'],
    guestFeatures: [1n, 0x21n, 0x201n],
  };
  const differences = async (launch: Partial<SnpLaunchDigestOptions>, other: ExpectedLaunch = {}) => {
    const { matches } = await explain(
      { ...planted, ...launch },
      { ...narrow, expected: { ...expected, ...other } },
    );
    expect(matches).toHaveLength(1);
    return matches[0]?.differences;
  };

  test.each<[Partial<SnpLaunchDigestOptions>, ExpectedLaunch, string[]]>([
    [{}, {}, []],
    [{}, { firmware: 'OVMF-1.fd' }, ['The firmware is OVMF-2.fd instead of OVMF-1.fd.']],
    [{}, { kernel: 'vmlinuz-11' }, ['The kernel is vmlinuz-13 instead of vmlinuz-11.']],
    [{}, { kernel: 'none' }, ['The kernel vmlinuz-13 is measured, although none is expected.']],
    [{}, { initrd: 'none' }, ['The initrd is initrd-21 instead of none.']],
    [{ initrd: undefined }, {}, ['The initrd is none instead of initrd-21.']],
    [
      {},
      { commandLine: 'line-0' },
      ['The command line is line-2 instead of line-0: it has "console=ttyS0".'],
    ],
    [{ append: 'quiet' }, {}, ['The command line is line-0 instead of line-2: it lacks "console=ttyS0".']],
    [
      { append: 'quiet' },
      { commandLine: 'line-1' },
      ['The command line is line-0 instead of line-1: it has "quiet", it lacks "console=ttyS0".'],
    ],
    [{ append: undefined }, {}, ['The command line is none instead of line-2.']],
    [{ vcpus: 1 }, {}, ['1 vCPU instead of 5.']],
    [{}, { vcpus: 8 }, ['5 vCPUs instead of 8.']],
    [
      {},
      { vcpuSignature: 0x800f12 },
      [
        'The vCPU type is EPYC-Milan = EPYC-Milan-v1 (signature 0x00a00f11) ' +
          'instead of one with signature 0x00800f12.',
      ],
    ],
    [
      {},
      { guestFeatures: 1n },
      [
        'The guest features are 0x21 (SNPActive, DebugSwap) instead of 0x1 (SNPActive): DebugSwap on. ' +
          'Linux 6.6 and 6.7 switch DebugSwap on by themselves.',
      ],
    ],
    [
      { guestFeatures: 0x201n },
      {},
      [
        'The guest features are 0x201 (SNPActive, SecureTSC) instead of 0x21 (SNPActive, DebugSwap): ' +
          'SecureTSC on, DebugSwap off.',
      ],
    ],
    [
      { vmsaFpu: 'zero' },
      {},
      ['MXCSR and FCW are zero in the VMSA, as on hosts before about Linux 6.10, instead of set.'],
    ],
    [
      {},
      { vmsaFpu: 'zero' },
      ['MXCSR and FCW are set in the VMSA, as on hosts from about Linux 6.10 on, instead of zero.'],
    ],
    [{ vmmType: 'gce', vmsaFpu: 'set' }, {}, ['It was launched by Google Compute Engine instead of QEMU.']],
  ])('case %#', async (launch, other, sentences) => {
    expect(await differences(launch, other)).toEqual(sentences);
  });

  test('without a kernel, nothing else of the boot is told', async () => {
    const sentences = await differences({ kernel: undefined, initrd: undefined, append: undefined });
    expect(sentences).toEqual([
      expect.stringMatching(/^No kernel is measured, although vmlinuz-13 is expected/),
    ]);
  });

  test('white space is told apart', async () => {
    const lines = [...commandLines, { name: 'with break', text: 'console=ttyS0 quiet\n' }];
    const { matches } = await explain(
      { ...planted, append: 'console=ttyS0 quiet\n' },
      { ...narrow, commandLines: lines, expected },
    );
    expect(matches[0]?.differences).toEqual([
      'The command line is with break instead of line-2: the words are the same, their order or the white space is not.',
    ]);
  });
});
