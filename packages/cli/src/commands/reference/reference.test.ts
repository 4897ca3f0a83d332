import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildGuestFirmware } from '@vouchsafe/guest';
import { describe, expect, it, onTestFinished } from 'vitest';
import { makeBroker } from '../../../../broker/src/testing/broker.js';
import { run, runJson, start } from '../../testing/run.js';

interface Digest {
  readonly value: string;
  readonly label: string;
  readonly notAfter?: string;
}
interface ReferenceJson {
  readonly document: {
    readonly version: number;
    readonly measurements?: Digest[];
    readonly launchDigests?: Digest[];
  };
  readonly checks?: { id: string; status: string }[];
  readonly error?: { argument?: string };
}

/** A folder with boot files and an issuer's key. */
async function makeBuild() {
  const folder = mkdtempSync(join(tmpdir(), 'vouchsafe-reference-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const at = (name: string) => join(folder, name);
  writeFileSync(at('firmware.fd'), buildGuestFirmware());
  writeFileSync(at('vmlinuz'), 'the kernel');
  writeFileSync(at('initrd'), 'the initrd');
  expect((await run(['broker', 'reference', 'generate-key', at('key.jwk')])).exit).toBe(0);
  const files = ['--firmware', at('firmware.fd'), '--kernel', at('vmlinuz'), '--initrd', at('initrd')];
  const machines = [
    '--append',
    'quiet',
    '--vcpus',
    '1-2',
    '--vcpu-type',
    'EPYC-Milan',
    '--vcpu-type',
    'EPYC-Rome',
  ];
  const words = [...files, ...machines, '--key', at('key.jwk')];
  const create = (...more: string[]) =>
    runJson<ReferenceJson>(['reference', 'create', ...words, '--out', at('images.jws'), ...more]);
  return { at, words, files, create };
}

const allModes = ['--mode', 'sev', '--mode', 'seves', '--mode', 'snp'];

describe('reference create', () => {
  it('lists the digest of every machine, as `digest` computes it', async () => {
    const { at, files, create } = await makeBuild();
    const { exit, document } = await create(...allModes, '--vmsa-fpu', 'set');
    expect(exit).toBe(0);
    const { measurements = [], launchDigests = [] } = document.document;
    expect(measurements.map(({ label }) => label)).toEqual([
      'vmlinuz, SEV-SNP, 1 vCPU, EPYC-Milan, FPU set',
      'vmlinuz, SEV-SNP, 1 vCPU, EPYC-Rome, FPU set',
      'vmlinuz, SEV-SNP, 2 vCPUs, EPYC-Milan, FPU set',
      'vmlinuz, SEV-SNP, 2 vCPUs, EPYC-Rome, FPU set',
    ]);
    expect(launchDigests.map(({ label }) => label.split(', ')[1])).toEqual([
      'SEV',
      ...Array(4).fill('SEV-ES'),
    ]);
    const digest = async (mode: string, ...more: string[]) => {
      const words = [
        'digest',
        '--mode',
        mode,
        '--ovmf',
        at('firmware.fd'),
        ...files.slice(2),
        '--append',
        'quiet',
      ];
      return (await run([...words, ...more])).stdout.trim();
    };
    const machine = ['--vcpus', '2', '--vcpu-type', 'EPYC-Rome', '--vmsa-fpu', 'set'];
    expect(measurements[3]?.value).toBe(await digest('snp', ...machine));
    expect(launchDigests[4]?.value).toBe(await digest('seves', ...machine));
    expect(launchDigests[0]?.value).toBe(await digest('sev'));
  });

  it('takes both forms of the FPU where hosts differ, and only what is measured', async () => {
    const { create } = await makeBuild();
    const both = await create('--vcpus', '1');
    expect(both.document.document.measurements?.length).toBe(4);
    expect(both.document.document).not.toHaveProperty('launchDigests');
    const sev = await create('--mode', 'sev');
    expect(sev.document.document.launchDigests?.length).toBe(1);
    expect(sev.document.document).not.toHaveProperty('measurements');
  });

  it('keeps the digests of the document before, with an end', async () => {
    const { at, create } = await makeBuild();
    const first = await create();
    writeFileSync(at('initrd'), 'the next initrd');
    const keep = ['--keep', at('images.jws'), '--keep-until', '2099-01-01'];
    const second = await create(...keep, '--not-after', '2099-06-01');
    expect([second.exit, second.document.document.version]).toEqual([0, 2]);
    const [fresh, old] = [
      second.document.document.measurements?.slice(0, 8),
      second.document.document.measurements?.slice(8),
    ];
    expect(old).toEqual(
      first.document.document.measurements?.map((each) => ({
        ...each,
        notAfter: '2099-01-01T00:00:00.000Z',
      })),
    );
    expect(fresh?.every(({ notAfter }) => notAfter === undefined)).toBe(true);
    expect((await create(...keep.with(3, '2020-01-01'))).exit).toBe(2);
  });

  it('keeps nothing that this key has not signed', async () => {
    const { at, create } = await makeBuild();
    await create();
    await run(['broker', 'reference', 'generate-key', at('other.jwk')]);
    const { exit, document } = await create('--keep', at('images.jws'), '--key', at('other.jwk'));
    expect([exit, (document.error as { code?: string } | undefined)?.code]).toEqual([1, 'refused']);
  });

  it.each<[string[], string]>([
    [['--mode', 'snp', '--vcpus', '0'], '--vcpus'],
    [['--mode', 'seves', '--vcpus', 'x'], '--vcpus'],
    [['--guest-features', 'many'], '--guest-features'],
  ])('refuses %j', async (more, argument) => {
    const { create } = await makeBuild();
    const { exit, document } = await create(...more);
    expect([exit, document.error?.argument]).toEqual([2, argument]);
  });

  it('needs to know which vCPUs are measured', async () => {
    const { at, files } = await makeBuild();
    const words = ['reference', 'create', ...files, '--key', at('key.jwk'), '--out', at('x.jws')];
    for (const [more, argument] of [
      [[], '--vcpus'],
      [['--vcpus', '1'], '--vcpu-type'],
      [['--mode', 'seves', '--vcpus', '1', '--vmm-type', 'ec2'], '--vcpu-type'],
    ] as const) {
      const { exit, document } = await runJson<ReferenceJson>([...words, ...more]);
      expect([exit, document.error?.argument]).toEqual([2, argument]);
    }
    expect((await run([...words, '--vcpus', '1', '--vmm-type', 'ec2'])).exit).toBe(0);
  });

  it('is taken by a broker as it is', async () => {
    const { at, create } = await makeBuild();
    await create(...allModes);
    const { admin } = await makeBroker();
    const { d: _, ...key } = JSON.parse(readFileSync(at('key.jwk'), 'utf8')) as Record<string, unknown>;
    const send = () =>
      admin.post('/v1/reference-values', { document: readFileSync(at('images.jws'), 'utf8').trim() });
    expect((await send()).status).not.toBe(201);
    await admin.put('/v1/issuers/owner', { keys: [key] });
    expect((await send()).status).toBe(201);
  });
});

describe('reference watch', () => {
  it('writes the next version when a build has replaced a file, with the one before beside it', async () => {
    const { at, words } = await makeBuild();
    const watching = await start<ReferenceJson>([
      ...['reference', 'watch', ...words, '--out', at('images.jws'), '--settle', '20'],
    ]);
    try {
      expect(watching.document.document.version).toBe(1);
      writeFileSync(at('initrd'), 'the next initrd');
      await watching.saw('"version":2');
      const [, payload = ''] = readFileSync(at('images.jws'), 'utf8').split('.');
      const { measurements } = JSON.parse(
        Buffer.from(payload, 'base64url').toString(),
      ) as ReferenceJson['document'];
      expect(measurements?.filter(({ notAfter }) => notAfter === undefined).length).toBe(8);
      expect(measurements?.filter(({ notAfter }) => notAfter !== undefined).length).toBe(8);

      rmSync(at('initrd'));
      await watching.saw('not published');
      writeFileSync(at('initrd'), 'a third initrd');
      await watching.saw('"version":3');
    } finally {
      expect((await watching.stop()).exit).toBe(0);
    }
    // Begun anew with the same files, it has nothing to write.
    const again = await start<{ document: unknown }>([
      ...['reference', 'watch', ...words, '--out', at('images.jws'), '--settle', '20'],
    ]);
    expect(again.document.document).toBeNull();
    await again.stop();
  });
});
