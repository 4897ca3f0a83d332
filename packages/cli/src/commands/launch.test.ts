import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromHex } from '@vouchsafe/sev';
import { afterAll, expect, it } from 'vitest';
import { describeWithVectors, jsonVector, vectorPath, vectors } from '../../../sev/src/testing/vectors.js';
import { run, runJson } from '../testing/run.js';

const folder = mkdtempSync(join(tmpdir(), 'vouchsafe-launch-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const at = (name: string) => join(folder, name);
const file = (name: string, bytes: Uint8Array | string) => {
  writeFileSync(at(name), bytes);
  return at(name);
};

interface MeasurementCase {
  readonly tik: string;
  readonly api_major: number;
  readonly api_minor: number;
  readonly build: number;
  readonly policy: number;
  readonly launch_digest?: string;
  readonly firmware?: string;
  readonly mnonce: string;
  readonly expect: { readonly measurement?: string; readonly blob?: string };
}

const platformWords = (given: { api_major: number; api_minor: number; build: number; policy: number }) => [
  ...['--api-major', String(given.api_major)],
  ...['--api-minor', `0x${given.api_minor.toString(16)}`],
  ...['--build-id', String(given.build)],
  ...['--policy', `0x${given.policy.toString(16)}`],
];

describeWithVectors('measurement, on known answers', () => {
  const { cases } = jsonVector<{ cases: MeasurementCase[] }>('sev/measurement.json');
  const blobOf = ({ expect: { measurement, blob }, mnonce }: MeasurementCase) =>
    blob ?? Buffer.concat([fromHex(measurement ?? ''), fromHex(mnonce)]).toString('base64');
  const words = (each: MeasurementCase) => [
    ...platformWords(each),
    ...['--tik', file('tik.bin', fromHex(each.tik))],
    ...(each.firmware === undefined
      ? ['--launch-digest', each.launch_digest ?? '']
      : ['--firmware', vectorPath(`sev/${each.firmware}`)]),
  ];

  it('builds what sevctl and sev-tool build', async () => {
    for (const each of cases) {
      const nonce = ['--nonce', Buffer.from(fromHex(each.mnonce)).toString('base64')];
      expect(await run(['measurement', 'build', ...words(each), ...nonce])).toEqual({
        exit: 0,
        stdout: `${blobOf(each)}\n`,
        stderr: '',
      });
      const { stdout } = await run([
        'measurement',
        'build',
        ...words(each),
        '--launch-measure-blob',
        blobOf(each),
      ]);
      expect(stdout).toBe(`${blobOf(each)}\n`);
      const written = await run([
        'measurement',
        'build',
        ...words(each),
        ...nonce,
        '--outfile',
        at('blob.bin'),
      ]);
      expect(written.stdout).toBe(`Wrote outfile: ${at('blob.bin')}\n`);
      expect(readFileSync(at('blob.bin')).toString('base64')).toBe(blobOf(each));
    }
  });

  it('verifies them, and refuses each of their parts altered', async () => {
    const [, each] = cases;
    const verify = (...more: string[]) =>
      run(['measurement', 'verify', ...words(each!), '--launch-measure-blob', blobOf(each!), ...more]);
    const { exit, stdout } = await verify();
    expect(exit).toBe(0);
    expect(stdout).toMatch(/^accepted: launch measurement\n/);
    for (const change of [
      ['--policy', '2'],
      ['--build-id', '41'],
      ['--api-minor', '41'],
      ['--launch-digest', '00'.repeat(32)],
      ['--launch-measure-blob', Buffer.alloc(48).toString('base64')],
      ['--expect-build', '1'],
    ]) {
      const refused = await verify(...change);
      expect(refused.exit, change[0]).toBe(1);
      expect(refused.stdout).toMatch(/^refused: launch measurement\n\n {2}failed: /);
    }
  });

  it('refuses firmware that does not bind its version, unless allowed', async () => {
    const words = [
      '--api-major',
      '0',
      '--api-minor',
      '16',
      '--build-id',
      '1',
      '--policy',
      '1',
      '--tik',
      file('tik16.bin', new Uint8Array(16)),
      '--launch-digest',
      'ab'.repeat(32),
    ];
    const { stdout } = await run([
      'measurement',
      'build',
      ...words,
      '--nonce',
      Buffer.alloc(16).toString('base64'),
    ]);
    const verify = [...words, '--launch-measure-blob', stdout.trim()];
    expect((await run(['measurement', 'verify', ...verify])).exit).toBe(1);
    expect((await run(['measurement', 'verify', ...verify, '--allow-api-below-0.17'])).exit).toBe(0);
  });

  it.each([
    [['--nonce', 'AAAA'], '--nonce'],
    [[], '--nonce'],
    [
      ['--nonce', 'AAAAAAAAAAAAAAAAAAAAAA==', '--launch-digest', 'ab'.repeat(32), '--firmware', 'x'],
      '--launch-digest',
    ],
    [['--nonce', 'AAAAAAAAAAAAAAAAAAAAAA==', '--launch-digest', 'ab'], '--launch-digest'],
    [
      ['--nonce', 'AAAAAAAAAAAAAAAAAAAAAA==', '--launch-digest', 'ab'.repeat(32), '--kernel', 'x'],
      '--kernel',
    ],
    [
      ['--nonce', 'AAAAAAAAAAAAAAAAAAAAAA==', '--launch-digest', 'ab'.repeat(32), '--policy', '0x1ffffffff'],
      '--policy',
    ],
    [
      [
        '--nonce',
        'AAAAAAAAAAAAAAAAAAAAAA==',
        '--policy',
        '4',
        '--firmware',
        vectorPath('sev/ovmf/ovmf_AmdSev_suffix.bin'),
      ],
      '--num-cpus',
    ],
  ] as [string[], string][])('says which argument is wrong: %j', async (more, argument) => {
    const base = [
      'measurement',
      'build',
      '--api-major',
      '1',
      '--api-minor',
      '2',
      '--build-id',
      '3',
      '--policy',
      '1',
      '--tik',
      file('t.bin', new Uint8Array(16)),
    ];
    const { exit, document } = await runJson<{ error: { argument: string } }>([...base, ...more]);
    expect([exit, document.error.argument]).toEqual([2, argument]);
  });
});

describeWithVectors('digest, on known answers', () => {
  const { cases } = jsonVector<{
    cases: {
      mode: string;
      ovmf: string;
      append: string | null;
      vcpus?: number;
      vcpu_type?: string;
      expect: string;
    }[];
  }>('sev/launch-digest.json');
  const words = (each: (typeof cases)[number]) => [
    ...['digest', '--mode', each.mode, '--ovmf', vectorPath(`sev/${each.ovmf}`)],
    ...['--kernel', file('kernel', ''), '--initrd', file('initrd', '')],
    ...(each.append === null ? [] : ['--append', each.append]),
    ...(each.vcpus === undefined ? [] : ['--vcpus', String(each.vcpus), '--vcpu-type', each.vcpu_type ?? '']),
  ];

  it('prints what sev-snp-measure prints', async () => {
    for (const each of cases) {
      expect(await run(words(each))).toEqual({ exit: 0, stdout: `${each.expect}\n`, stderr: '' });
      const base64 = Buffer.from(fromHex(each.expect)).toString('base64');
      expect((await run([...words(each), '--output-format', 'base64'])).stdout).toBe(`${base64}\n`);
      expect((await runJson([...words(each)])).document).toMatchObject({
        mode: each.mode,
        digest: each.expect,
        base64,
      });
      expect((await run([...words(each), '--verbose'])).stdout).toContain(
        `Calculated ${each.mode} guest measurement: ${each.expect}`,
      );
    }
  });

  it('takes the CPU in three ways, and writes its pages', async () => {
    const seves = cases.find(({ mode }) => mode === 'seves')!;
    const base = words(seves).slice(0, -2);
    for (const cpu of [
      ['--vcpu-sig', '0x800f12'],
      ['--vcpu-family', '23', '--vcpu-model', '1', '--vcpu-stepping', '2'],
    ]) {
      expect((await run([...base, ...cpu, '--dump-vmsa', at('dump')])).stdout).toBe(`${seves.expect}\n`);
      expect(statSync(at('dump/vmsa0.bin')).size).toBe(4096);
    }
    const old = await runJson<{ digest: string }>([...base, '--vcpu-sig', '0x800f12', '--vmsa-fpu', 'zero']);
    expect(old.document.digest).not.toBe(seves.expect);
  });

  it.each([
    [['--mode', 'snp'], '--vcpus'],
    [['--mode', 'seves'], '--vcpus'],
    [['--mode', 'seves', '--vcpus', '1'], '--vcpu-type'],
    [['--mode', 'seves', '--vcpus', '1', '--vcpu-type', 'i486'], 'vCPU type'],
    [['--mode', 'seves', '--vcpus', '1', '--vcpu-type', 'EPYC', '--vcpu-sig', '1'], 'one of the three'],
    [['--mode', 'sev', '--initrd', 'x'], '--initrd'],
    [['--mode', 'sev', '--vmm-type', 'ec2'], '--vmm-type'],
    [['--mode', 'tdx'], '--mode'],
    [['--mode', 'sev', '--dump-vmsa', 'x'], '--dump-vmsa'],
  ] as [string[], string][])('refuses %j', async (more, said) => {
    const { exit, stderr } = await run([
      'digest',
      '--ovmf',
      vectorPath('sev/ovmf/ovmf_AmdSev_suffix.bin'),
      ...more,
    ]);
    expect(exit).toBe(2);
    expect(stderr).toContain(said);
  });
});

describeWithVectors('vmsa, on sevctl’s page', () => {
  it('builds and shows it', async () => {
    const words = [
      'vmsa',
      'build',
      at('vmsa0.bin'),
      '--cpu',
      '0',
      '--family',
      '25',
      '--model',
      '1',
      '--stepping',
      '1',
      '--userspace',
      'qemu',
    ];
    const firmware = ['--firmware', vectorPath('sev/ovmf/OVMF.amdsev.el9-trimmed.bin')];
    expect((await run([...words, ...firmware])).exit).toBe(0);
    expect(new Uint8Array(readFileSync(at('vmsa0.bin')))).toEqual(vectors('sev/vmsa/vmsa0.bin'));

    const { stdout } = await run(['vmsa', 'show', at('vmsa0.bin')]);
    expect(stdout).toMatch(/0x310 +rdx +0xa00f11/);
    expect(stdout).not.toMatch(/ r8 /);
    expect((await run(['vmsa', 'show', at('vmsa0.bin'), '--all'])).stdout).toMatch(/ r8 /);

    expect((await run([...words.with(4, '1')])).stderr).toContain('--firmware');
    const other = [...words.with(2, at('vmsa1.bin')).with(4, '1'), ...firmware];
    expect((await run(other)).exit).toBe(0);
    expect((await run(['vmsa', 'show', at('vmsa1.bin')])).stdout).toMatch(/rip +0xb004/);
  });
});

interface SecretCase {
  readonly id: string;
  readonly secrets: readonly { readonly guid: string; readonly file: string }[];
  readonly expect: { readonly header?: string; readonly payload?: string; readonly payload_size: number };
}

describeWithVectors('secret, on sevctl’s packets', () => {
  const known = jsonVector<{
    tik: string;
    tek: string;
    launch_blob: string;
    iv: string;
    cases: SecretCase[];
  }>('sev/secret/secret.json');
  const keys = () => [
    '--tik',
    file('s_tik.bin', fromHex(known.tik)),
    '--tek',
    file('s_tek.bin', fromHex(known.tek)),
  ];
  const base = () => ['secret', 'build', ...keys(), '--launch-measure-blob', known.launch_blob];

  it('builds them', async () => {
    for (const each of known.cases) {
      const secrets = each.secrets.flatMap(({ guid, file: name }) => [
        '--secret',
        `${guid}:${vectorPath(`sev/secret/${name}`)}`,
      ]);
      const iv = ['--iv', Buffer.from(fromHex(known.iv)).toString('base64')];
      const { exit, stdout } = await run([...base(), ...secrets, ...iv, at('header.bin'), at('payload.bin')]);
      expect([exit, stdout]).toEqual([
        0,
        `Wrote header to: ${at('header.bin')}\nWrote payload to: ${at('payload.bin')}\n`,
      ]);
      expect(statSync(at('payload.bin')).size).toBe(each.expect.payload_size);
      if (each.expect.header === undefined) continue;
      expect(readFileSync(at('header.bin')).toString('base64')).toBe(each.expect.header);
      expect(readFileSync(at('payload.bin')).toString('base64')).toBe(each.expect.payload);
    }
  });

  it('draws a new counter block for each packet, and takes the alias of virt-qemu-sev-validate', async () => {
    const secret = ['--secret', `luks-key:${file('disk.key', 'open sesame')}`];
    const made = async () => {
      expect((await run([...base(), ...secret, at('h'), at('p')])).exit).toBe(0);
      return readFileSync(at('p')).toString('hex');
    };
    expect(await made()).not.toBe(await made());
  });

  it('never prints a secret', async () => {
    const secret = 'correct horse battery staple';
    const path = file('big.key', secret.repeat(1000));
    const outcomes = [
      await run([...base(), '--secret', `luks-key:${path}`, at('h'), at('p')]),
      await run([
        ...base(),
        '--secret',
        `luks-key:${path}`,
        '--secret',
        `luks-key:${path}`,
        at('h'),
        at('p'),
      ]),
      await run([...base(), '--secret', `nonsense:${path}`, at('h'), at('p'), '--json']),
      await run([
        ...base().with(3, file('text.tik', secret)),
        '--secret',
        `luks-key:${path}`,
        at('h'),
        at('p'),
      ]),
      await run([...base(), at('h'), at('p')]),
      await run([...base(), '--secret', path, at('h'), at('p')]),
    ];
    for (const { exit, stdout, stderr } of outcomes) {
      expect(exit).toBe(2);
      expect(stdout + stderr).not.toContain('horse');
      expect(stdout + stderr).not.toContain(known.tik);
      expect(stderr).not.toMatch(/^\s+at /m);
    }
  });

  it('lists a table without its secrets', async () => {
    const { buildSecretTable, openSecret } = await import('@vouchsafe/sev');
    const data = new TextEncoder().encode('correct horse');
    const table = openSecret(buildSecretTable([{ guid: '736869e5-84f0-4973-92ec-06879ce3da0b', data }]));
    const { exit, stdout } = await run(['secret', 'table', 'show', file('table.bin', table)]);
    expect(exit).toBe(0);
    expect(stdout).toMatch(/736869e5-84f0-4973-92ec-06879ce3da0b +luksKey +0x14 +13/);
    expect(stdout).not.toContain('horse');
    expect((await run(['secret', 'table', 'show', file('cut.bin', table.subarray(0, 30))])).exit).toBe(2);
  });
});
