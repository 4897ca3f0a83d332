import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { buildGuestFirmware } from '@vouchsafe/guest';
import { concat, fromHex, measureLaunch, toBase64, vcpuTypes } from '@vouchsafe/sev';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runJson } from '../../../packages/cli/src/testing/run.js';
import { buildInitrd } from './build-initrd.js';
import { findDebianKernel } from './debian-kernel.js';

/** Debian's own interpreter: another one in PATH lacks the tool's modules. */
const tool = ['/usr/bin/python3', '/usr/bin/virt-qemu-sev-validate'] as const;
const root = resolve(import.meta.dirname, '../../..');
const kernel = findDebianKernel();

const missing = !existsSync(tool[1])
  ? 'libvirt-clients-qemu'
  : !existsSync('/usr/sbin/cryptsetup')
    ? 'cryptsetup-bin'
    : 'missing' in kernel
      ? kernel.missing
      : undefined;
if (missing !== undefined) it.skipIf(true)(`${missing} is not here (tools/test sets it up)`, () => undefined);

/** `reference create` against virt-qemu-sev-validate: the project's firmware, Debian's kernel, and an initrd for it. */
describe.runIf(missing === undefined)('digests of the project’s firmware with Debian’s kernel', () => {
  if ('missing' in kernel) return;
  const folder = mkdtempSync(join(tmpdir(), 'vouchsafe-digests-'));
  const at = (name: string) => join(folder, name);
  const commandLine = 'console=ttyS0 vouchsafe.key=kbs:///default/disk/root';
  const [tik, tek] = [3, 4].map((value) => new Uint8Array(16).fill(value)) as [Uint8Array, Uint8Array];
  const platform = { apiMajor: 1, apiMinor: 55, buildId: 24 };
  let document: { launchDigests: { value: string; label: string }[] };

  beforeAll(async () => {
    writeFileSync(at('firmware'), buildGuestFirmware());
    writeFileSync(at('initrd'), await buildInitrd({ root, ...kernel }));
    writeFileSync(at('tik'), tik, { mode: 0o600 });
    writeFileSync(at('tek'), tek, { mode: 0o600 });
    await runJson(['broker', 'reference', 'generate-key', at('key.jwk')]);
    const made = await runJson<{ document: typeof document }>([
      ...[
        'reference',
        'create',
        '--firmware',
        at('firmware'),
        '--kernel',
        kernel.kernel,
        '--initrd',
        at('initrd'),
      ],
      ...[
        '--append',
        commandLine,
        '--mode',
        'sev',
        '--mode',
        'seves',
        '--vcpus',
        '2',
        '--vcpu-type',
        'EPYC-Milan',
      ],
      // The tool knows the older form of the VMSA.
      ...['--vmsa-fpu', 'zero', '--key', at('key.jwk'), '--out', at('images.jws')],
    ]);
    expect(made.exit).toBe(0);
    document = made.document.document;
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  /** The tool's verdict over a launch with this digest: does it find the same in the files? */
  const validate = async (
    digest: string,
    policy: number,
    more: readonly string[],
    files: Record<string, string> = {},
  ) => {
    const mnonce = new Uint8Array(16).fill(5);
    const launchDigest = fromHex(digest);
    const measurement = await measureLaunch({ tik, ...platform, policy, launchDigest, mnonce });
    const given = {
      firmware: at('firmware'),
      kernel: kernel.kernel,
      initrd: at('initrd'),
      tik: at('tik'),
      tek: at('tek'),
    };
    const { status, stdout, stderr } = spawnSync(
      tool[0],
      [
        ...[tool[1], `--measurement=${toBase64(concat(measurement, mnonce))}`, `--policy=${policy}`],
        ...Object.entries({ ...given, ...files }).map(([name, file]) => `--${name}=${file}`),
        ...[`--cmdline=${commandLine}`, '--api-major=1', '--api-minor=55', '--build-id=24', ...more],
      ],
      { encoding: 'utf8' },
    );
    return { status, output: `${stdout}${stderr}` };
  };

  const { family, model, stepping } = vcpuTypes['EPYC-Milan']!;
  it.each<[number, string, number, string[]]>([
    [0, 'SEV', 1, []],
    [
      1,
      'SEV-ES',
      5,
      ['--num-cpus=2', `--cpu-family=${family}`, `--cpu-model=${model}`, `--cpu-stepping=${stepping}`],
    ],
  ])('of launch %i are those of virt-qemu-sev-validate: %s', async (index, title, policy, more) => {
    const { value, label } = document.launchDigests[index]!;
    expect(label).toContain(title);
    const good = await validate(value, policy, more);
    expect([good.status, good.output]).toEqual([0, expect.stringContaining('OK: Looks good to me')]);
    const changed = readFileSync(at('initrd'));
    changed[changed.length >> 1] = changed[changed.length >> 1]! ^ 1;
    writeFileSync(at('changed'), changed);
    const bad = await validate(value, policy, more, { initrd: at('changed') });
    expect([bad.status, bad.output]).toEqual([1, expect.stringContaining('Measurement does not match')]);
  });
});
