import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { measureCases } from '../../../../sev/src/testing/measure-cases.js';
import { snpImage } from '../../../../sev/src/testing/snp-image.js';
import { describeWithVectors, vectorPath } from '../../../../sev/src/testing/vectors.js';
import { run, runJson } from '../../testing/run.js';
import { commandLinesOf, kindOf } from './candidates.js';

const folder = mkdtempSync(join(tmpdir(), 'vouchsafe-digest-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const at = (...names: string[]) => join(folder, ...names);
const file = (name: string, content: Uint8Array | string) => {
  writeFileSync(at(name), content);
  return at(name);
};
const image = file('OVMF.fd', snpImage({ pages: 4 }));
const empty = file('empty', '');

interface DigestDocument {
  readonly digest: string;
  readonly base64: string;
  readonly steps?: readonly { readonly name: string; readonly digest: string }[];
}

describeWithVectors('digest, on every published case', () => {
  it.each(measureCases().map((each) => [each.id, each] as const))('%s', async (_id, known) => {
    const path = (name: string) => vectorPath(`snp/measure/${name}`);
    const option = (name: string, value: string | number | undefined) =>
      value === undefined ? [] : [name, String(value)];
    const words = [
      ...['digest', '--mode', known.mode, '--ovmf', path(known.ovmf)],
      ...option('--kernel', known.kernel && empty),
      ...option('--initrd', known.initrd && empty),
      ...option('--append', known.append),
      ...option('--vcpus', known.vcpus),
      ...option('--vcpu-type', known.vcpuType),
      ...option('--vmm-type', known.vmm),
      ...option('--guest-features', known.guestFeatures),
      ...option('--svsm', known.svsm && path(known.svsm)),
      ...option('--vars-size', known.varsSize),
    ];
    if (known.expected.startsWith('ERROR')) {
      const { exit, stdout, stderr } = await run(words);
      expect([exit, stdout]).toEqual([2, '']);
      expect(stderr).toContain('SNP_KERNEL_HASHES');
      return;
    }
    expect(await run(words)).toEqual({ exit: 0, stdout: `${known.expected}\n`, stderr: '' });
    const base64 = Buffer.from(known.expected, 'hex').toString('base64');
    expect((await run([...words, '--output-format', 'base64'])).stdout).toBe(`${base64}\n`);
    const { document } = await runJson<DigestDocument>(words);
    expect(document).toMatchObject({ mode: known.mode, digest: known.expected, base64 });
    const verbose = await run([...words, '--verbose']);
    expect(verbose.stdout).toContain(`Calculated ${known.mode} guest measurement: ${known.expected}\n`);
    if (known.ovmfHash !== undefined) {
      expect((await run([...words, '--snp-ovmf-hash', known.ovmfHash])).stdout).toBe(`${known.expected}\n`);
    }
    if (known.varsSize !== undefined) {
      const vars = file('vars', new Uint8Array(known.varsSize));
      const byFile = [...words.slice(0, -2), '--vars-file', vars];
      expect((await run(byFile)).stdout).toBe(`${known.expected}\n`);
    }
  });
});

const snp = ['digest', '--mode', 'snp', '--ovmf', image];
const milan = ['--vcpu-type', 'EPYC-Milan'];

describe('digest of SEV-SNP', () => {
  it('takes the CPU in three ways, and writes the pages that it measures', async () => {
    const { document } = await runJson<DigestDocument>([...snp, '--vcpus', '3', ...milan]);
    for (const cpu of [
      ['--vcpu-sig', '0xa00f11'],
      ['--vcpu-family', '25', '--vcpu-model', '1', '--vcpu-stepping', '1'],
    ]) {
      const words = [...snp, '--vcpus', '3', ...cpu, '--dump-vmsa', at('dump')];
      expect((await run(words)).stdout).toBe(`${document.digest}\n`);
      for (const cpu of [0, 1, 2]) expect(statSync(at('dump', `vmsa${cpu}.bin`)).size).toBe(4096);
    }
    expect(readFileSync(at('dump/vmsa1.bin'))).toEqual(readFileSync(at('dump/vmsa2.bin')));
    expect(document.steps?.at(-1)).toMatchObject({ name: 'VMSA of vCPU 2', digest: document.digest });
  });

  it('starts from a known firmware digest, with the end of the file alone', async () => {
    const { stdout: firmware } = await run(['digest', '--mode', 'snp:ovmf-hash', '--ovmf', image]);
    const tail = file('tail.fd', readFileSync(image).subarray(-4096));
    const { stdout } = await run([...snp, '--vcpus', '2', ...milan]);
    const words = [...snp.with(4, tail), '--vcpus', '2', ...milan, '--snp-ovmf-hash', firmware.trim()];
    expect((await run(words)).stdout).toBe(stdout);
  });

  it('each option changes it', async () => {
    const base = [...snp, '--vcpus', '2'];
    const changes = [
      milan,
      ['--vcpu-type', 'EPYC-Rome'],
      [...milan, '--vcpus', '3'],
      [...milan, '--guest-features', '0x21'],
      [...milan, '--guest-features', '513'],
      [...milan, '--vmsa-fpu', 'zero'],
      ...['ec2', 'ec2-old', 'gce', 'KRUN'].map((type) => ['--vmm-type', type]),
      ['--vmm-type', 'ec2', '--vmsa-fpu', 'set'],
      [...milan, '--kernel', empty],
      [...milan, '--kernel', empty, '--append', 'quiet'],
      [...milan, '--kernel', empty, '--initrd', image],
    ];
    const digests = new Set<string>();
    for (const change of changes) digests.add((await run([...base, ...change])).stdout);
    expect(digests.size).toBe(changes.length);
    expect([...digests].every((digest) => /^[0-9a-f]{96}\n$/.test(digest))).toBe(true);
  });

  it('of SEV-ES, guest features give DebugSwap alone', async () => {
    const words = ['digest', '--mode', 'seves', '--ovmf', image, '--vcpus', '1', ...milan];
    const digestWith = async (features: string) =>
      (await run([...words, '--guest-features', features])).stdout;
    expect(await digestWith('0x1')).toBe((await run(words)).stdout);
    expect(await digestWith('0x21')).toBe(await digestWith('0x20'));
    expect(await digestWith('0x20')).not.toBe(await digestWith('0'));
  });

  it.each([
    [[], '--vcpus'],
    [['--vcpus', '0', ...milan], '--vcpus'],
    [['--vcpus', '1'], '--vcpu-type'],
    [['--vcpus', '1', ...milan, '--guest-features', 'many'], '--guest-features'],
    [['--vcpus', '1', ...milan, '--guest-features', '0x10000000000000000'], '--guest-features'],
    [['--vcpus', '1', ...milan, '--guest-features', '18446744073709551616'], '--guest-features'],
    [['--vcpus', '1', ...milan, '--snp-ovmf-hash', 'ab'], 'firmware digest'],
    [['--vcpus', '1', ...milan, '--snp-ovmf-hash', 'xy'], '--snp-ovmf-hash'],
    [['--vcpus', '1', ...milan, '--svsm', 'x'], '--svsm'],
    [['--vcpus', '1', ...milan, '--vars-size', '0'], '--vars-size'],
    [['--vcpus', '1', ...milan, '--append', 'x'], '--append'],
    [['--vcpus', '1', '--vmm-type', 'xen'], '--vmm-type'],
    [['--mode', 'snp:ovmf-hash', '--kernel', empty], '--kernel'],
    [['--mode', 'snp:ovmf-hash', '--dump-vmsa', 'x'], '--dump-vmsa'],
    [['--mode', 'seves', '--snp-ovmf-hash', '00'], '--snp-ovmf-hash'],
    [['--mode', 'snp:svsm', '--vcpus', '1', ...milan], '--svsm'],
    [['--mode', 'snp:svsm', '--svsm', image, ...milan], '--vcpus'],
    [['--mode', 'snp:svsm', '--svsm', image, '--vcpus', '1'], '--vcpu-type'],
    [['--mode', 'snp:svsm', '--svsm', image, '--vcpus', '1', ...milan], '--vars-size'],
    [
      [
        '--mode',
        'snp:svsm',
        '--svsm',
        image,
        '--vcpus',
        '1',
        ...milan,
        '--vars-size',
        '0',
        '--vars-file',
        image,
      ],
      '--vars-size',
    ],
    [['--mode', 'snp:svsm', '--svsm', image, '--vcpus', '1', ...milan, '--vars-size', '0'], 'SVSM'],
    [['--mode', 'snp:svsm', '--svsm', image, '--kernel', empty], '--kernel'],
    [['--mode', 'snp:svsm', '--svsm', image, '--vmm-type', 'gce'], '--vmm-type'],
    [['--mode', 'snp:svsm', '--svsm', image, '--guest-features', '0x21'], '--guest-features'],
  ] as [string[], string][])('refuses %j', async (more, argument) => {
    const { exit, document } = await runJson<{ error: { argument: string } }>([...snp, ...more]);
    expect([exit, document.error.argument]).toEqual([2, argument]);
  });

  it('a missing variables volume is a failure from outside', async () => {
    const words = ['--mode', 'snp:svsm', '--svsm', image, '--vcpus', '1', ...milan, '--vars-file', at('no')];
    expect((await run([...snp, ...words])).exit).toBe(3);
  });
});

const kernel = (fill: number) => {
  const bytes = new Uint8Array(0x300).fill(fill);
  bytes.set(new TextEncoder().encode('HdrS'), 0x202);
  return bytes;
};

describe('digest explain', () => {
  const debian = '/usr/share/ovmf/OVMF.fd';
  const candidates = at('candidates');
  mkdirSync(join(candidates, 'images'), { recursive: true });
  const put = (name: string, content: Uint8Array | string) => file(join('candidates', name), content);
  put('images/one.bin', snpImage({ pages: 8, fill: 1 }));
  put('images/two.bin', snpImage({ pages: 8, fill: 2 }));
  if (existsSync(debian)) put('images/debian.fd', readFileSync(debian));
  for (const fill of [1, 2, 3]) put(`linux-${fill}`, kernel(fill));
  for (const fill of [1, 2]) put(`initrd-${fill}.gz`, new Uint8Array([0x1f, 0x8b, fill]));
  put('cmdline.txt', 'console=ttyS0 quiet\n');
  put('other.txt', 'console=ttyS0\ndebug');
  put('notes.pdf', 'nothing of use');

  const launched = [
    ...['digest', '--mode', 'snp', '--ovmf', join(candidates, 'images/two.bin'), '--vcpus', '5', ...milan],
    ...['--kernel', join(candidates, 'linux-3'), '--initrd', join(candidates, 'initrd-1.gz')],
    ...['--guest-features', '0x21'],
  ];
  const measure = async (...more: string[]) => (await run([...launched, ...more])).stdout.trim();
  const explain = (measurement: string) => [
    ...['digest', 'explain', '--candidates', candidates, '--measurement', measurement],
  ];

  interface Explained {
    readonly found: boolean;
    readonly matches: readonly Record<string, unknown>[];
    readonly tried: number;
    readonly searched: readonly string[];
    readonly untried: readonly { readonly name: string; readonly reason: string }[];
    readonly ignored: readonly string[];
  }

  it('finds a planted launch among more than 5,000 in under 10 seconds', async () => {
    const measurement = await measure('--append', 'console=ttyS0 quiet');
    const began = process.cpuUsage();
    const { exit, document } = await runJson<Explained>([...explain(measurement), '--vcpus', '1-8']);
    // Of one processor: what else runs on the machine must not fail the test.
    const { user, system } = process.cpuUsage(began);
    expect(user + system).toBeLessThan(10_000_000);
    expect(exit).toBe(0);
    expect(document.tried).toBeGreaterThan(5000);
    expect(document.matches).toEqual([
      {
        mode: 'snp',
        firmware: ['images/two.bin'],
        kernel: ['linux-3'],
        initrd: ['initrd-1.gz'],
        commandLine: ['cmdline.txt'],
        commandLineText: 'console=ttyS0 quiet',
        vcpus: 5,
        vcpuType: {
          names: ['EPYC-Milan', 'EPYC-Milan-v1', 'EPYC-Milan-v2', 'EPYC-Milan-v3'],
          signature: '0xa00f11',
        },
        vmmType: 'QEMU',
        guestFeatures: '0x21',
        vmsaFpu: 'set',
      },
    ]);
    expect(document.ignored).toEqual(['notes.pdf']);
  });

  it('says in words how the launch differs from the expected one', async () => {
    const measurement = await measure('--append', 'console=ttyS0 quiet\n');
    const { exit, stdout } = await run([
      ...explain(measurement),
      ...['--vcpus', '4-6', '--vmm-type', 'QEMU'],
      ...['--expect', 'append=cmdline.txt', '--expect', 'vcpus=4', '--expect', 'guest-features=0x1'],
      ...['--expect', 'vcpu-type=EPYC-Milan', '--expect', 'firmware=images/two.bin'],
    ]);
    expect(exit).toBe(0);
    expect(stdout).toContain('Found: a SEV-SNP guest\n');
    expect(stdout).toContain('command line    cmdline.txt with its line breaks: "console=ttyS0 quiet\\n"\n');
    expect(stdout.match(/^differs: .*$/gm)).toEqual([
      'differs: The command line is cmdline.txt with its line breaks instead of cmdline.txt: ' +
        'the words are the same, their order or the white space is not.',
      'differs: 5 vCPUs instead of 4.',
      expect.stringMatching(/^differs: The guest features are 0x21 .* DebugSwap on\. Linux 6\.6/),
    ]);
  });

  it('says that a launch is the expected one', async () => {
    const words = [
      ...explain(await measure('--append', 'debug')),
      '--vcpus',
      '5',
      '--expect',
      'append=other.txt:2',
    ];
    expect((await run(words)).stdout).toContain('It is the launch that was expected.\n');
  });

  it('says plainly that nothing matches, what was searched and what may be the reason', async () => {
    const words = [
      ...explain(await measure('--append', 'unknown')),
      '--vcpus',
      '1,3-5',
      '--vmm-type',
      'QEMU',
    ];
    const { exit, stdout } = await run(words);
    expect(exit).toBe(1);
    expect(stdout).toMatch(/^Nothing matches: none of \d+ launches gives this measurement\.\n/);
    expect(stdout).toContain('  kernel: none, linux-1, linux-2, linux-3\n');
    expect(stdout).toContain('  vCPUs: 1, 3 to 5\n');
    expect(stdout).toContain('What is often the reason:\n');
    const { document } = await runJson<Explained>(words);
    expect(document).toMatchObject({ found: false, matches: [] });
    if (existsSync(debian)) {
      expect(document.untried).toEqual([
        { name: 'images/debian.fd', reason: expect.stringContaining('SNP_KERNEL_HASHES') },
      ]);
    }
  });

  it('finds digests of SEV-ES as well, in base64, with files that are named one by one', async () => {
    const words = ['--mode', 'seves', '--ovmf', image, '--vcpus', '2', '--vcpu-sig', '0x123'];
    const { stdout } = await run(['digest', ...words, '--output-format', 'base64']);
    const { document } = await runJson<Explained>([
      ...['digest', 'explain', '--measurement', stdout.trim(), '--firmware', image, '--kernel', empty],
      ...['--initrd', empty, '--append', 'a', '--append-file', file('lines', 'b\r\nc\n')],
      ...['--vcpus', '1-2', '--vcpu-sig', '0x123', '--vmsa-fpu', 'set', '--guest-features', '1'],
    ]);
    expect(document.matches).toMatchObject([
      { mode: 'seves', vcpus: 2, vcpuType: { names: ['0x123'] }, guestFeatures: '0x0' },
    ]);
    expect(document.searched).toContain(
      'command line: none, "a", ' +
        `${at('lines')}:1, ${at('lines')}:2, ` +
        `${at('lines')} with its line breaks`,
    );
  });

  it('shows a bar on a terminal, and nothing of it elsewhere', async () => {
    const words = [...explain(await measure()), '--vcpus', '5', '--vmm-type', 'QEMU'];
    const { stderr, stdout } = await run(words, { terminal: 100 });
    expect(stderr).toContain('[###############---------------] 50 %');
    expect(stderr).toMatch(/\[#{30}\] 100 % {2}(\d+) of \1 launches/);
    expect(stdout).not.toContain('[###');
    expect((await run(words)).stderr).toBe('');
  });

  it.each([
    [['--measurement', 'ab', '--firmware', image], '--measurement'],
    [['--measurement', 'abcd', '--firmware', image], 'measurement'],
    [['--measurement', '??', '--firmware', image], '--measurement'],
    [['--firmware', image], '--measurement'],
    [['--measurement', '00'.repeat(48)], '--candidates'],
    ...[
      [['--vcpus', '0'], '--vcpus'],
      [['--vcpus', '4-2'], '--vcpus'],
      [['--vcpus', '1-2-3'], '--vcpus'],
      [['--vcpus', ''], '--vcpus'],
      [['--vcpu-type', 'i486'], 'vCPU type'],
      [['--vmm-type', 'xen'], '--vmm-type'],
      [['--guest-features', 'x'], '--guest-features'],
      [['--expect', 'vcpus'], '--expect'],
      [['--expect', 'toString=1'], '--expect'],
      [['--expect', 'vcpus=0'], '--expect vcpus'],
      [['--expect', 'vmm-type=xen'], '--expect vmm-type'],
      [['--expect', 'vmsa-fpu=half'], '--expect vmsa-fpu'],
      [['--expect', 'kernel=missing'], 'expected kernel'],
    ].map(([more, argument]) => [
      ['--measurement', '00'.repeat(48), '--firmware', image, ...(more as string[])],
      argument,
    ]),
  ] as [string[], string][])('refuses %j', async (words, argument) => {
    const { exit, document } = await runJson<{ error: { argument: string } }>([
      'digest',
      'explain',
      ...words,
    ]);
    expect([exit, document.error.argument]).toEqual([2, argument]);
  });

  it('a missing folder is a failure from outside', async () => {
    const words = ['digest', 'explain', '--measurement', '00'.repeat(48), '--candidates', at('no')];
    expect((await run(words)).exit).toBe(3);
  });
});

describe('candidates are known by their contents', () => {
  const bytes = (...beginning: number[]) => new Uint8Array([...beginning, ...new Uint8Array(100)]);
  const broken = snpImage();
  broken[4096 - 50] = 1;
  broken[4096 - 49] = 0;
  it.each([
    ['a', snpImage(), 'firmware'],
    ['a', broken, 'firmware'],
    ['OVMF.bin', new Uint8Array(10), 'firmware'],
    ['a.fd', new Uint8Array(10), 'firmware'],
    ['a', kernel(0), 'kernel'],
    ['vmlinuz-6.1', new Uint8Array(10), 'kernel'],
    ['a', new TextEncoder().encode('070701rest'), 'initrd'],
    ['a', bytes(0x1f, 0x8b), 'initrd'],
    ['a', bytes(0x28, 0xb5, 0x2f, 0xfd), 'initrd'],
    ['a', bytes(0xfd, 0x37, 0x7a, 0x58, 0x5a, 0), 'initrd'],
    ['initramfs.img', new Uint8Array(10), 'initrd'],
    ['cmdline', new Uint8Array(1), 'command line'],
    ['a.txt', new Uint8Array(4096), 'command line'],
    ['a', new Uint8Array(4096), undefined],
    ['a', new Uint8Array(), undefined],
  ] as const)('%s, %#', (name, content, kind) => {
    expect(kindOf(`folder/${name}`, content)).toBe(kind);
  });

  it.each([
    ['quiet', [['f', 'quiet']]],
    [
      'quiet\n',
      [
        ['f', 'quiet'],
        ['f with its line breaks', 'quiet\n'],
      ],
    ],
    [' quiet', [['f', ' quiet']]],
    [
      'a\r\n\nb',
      [
        ['f:1', 'a'],
        ['f:3', 'b'],
        ['f with its line breaks', 'a\r\n\nb'],
      ],
    ],
  ])('command lines of %j', (text, expected) => {
    const found = commandLinesOf('f', new TextEncoder().encode(text));
    expect(found.map((each) => [each.name, each.text])).toEqual(expected);
  });
});
