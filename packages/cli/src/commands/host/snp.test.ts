import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectQmp } from '@vouchsafe/host';
import { toHex } from '@vouchsafe/sev';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run, runJson, start } from '../../testing/run.js';

const folder = mkdtempSync(join(tmpdir(), 'vouchsafe-snp-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const at = (name: string) => join(folder, name);
const software = ['--software', at('processor'), '--generation', 'milan'];
const boot = () => ['--kernel', at('kernel'), '--initrd', at('initrd'), '--append', 'console=ttyS0, quiet'];
const reportData = toHex(new Uint8Array(64).fill(0xda));

interface Launched {
  readonly measurement: string;
  readonly policy: string;
  readonly console: readonly string[];
}
const launch = (...more: string[]) =>
  runJson<Launched>(['host', 'launch', '--mode', 'snp', ...software, ...more]);
const digest = async (...more: string[]) => {
  const words = ['digest', '--mode', 'snp', '--ovmf', at('guest.fd'), ...more];
  return (await runJson<{ digest: string }>(words)).document.digest;
};
const ok = async (...words: string[]) => {
  const outcome = await run(words);
  expect(outcome, outcome.stderr).toMatchObject({ exit: 0 });
  return outcome.stdout;
};

beforeAll(async () => {
  writeFileSync(at('kernel'), 'a kernel');
  writeFileSync(at('initrd'), 'an initrd');
  await ok('guest', 'firmware', at('guest.fd'));
});

describe('host launch --mode snp', () => {
  it.each<[string, () => string[]]>([
    ['firmware alone', () => ['--vcpus', '1', '--vcpu-type', 'EPYC-Milan']],
    ['a kernel and four CPUs', () => ['--vcpus', '4', '--vcpu-type', 'EPYC-Genoa-v1', ...boot()]],
    [
      'other features, and an older KVM',
      () => ['--vcpus', '2', '--vcpu-sig', '0xb00f21', '--guest-features', '0x21', '--vmsa-fpu', 'zero'],
    ],
  ])('measures what digest computes: %s', async (_name, options) => {
    const { exit, document, stderr } = await launch(...options());
    expect([exit, stderr]).toEqual([0, '']);
    const expected = await digest(...options());
    expect(document.measurement).toBe(expected);
    expect(document.console).toContain(`my measurement: ${expected}`);
  });

  it('writes a report that report verify accepts under the root of the software processor alone', async () => {
    const files = ['--report', at('report.bin'), '--report-certs', at('certs.bin')];
    const hostData = toHex(new Uint8Array(32).fill(7));
    const given = ['--report-data', reportData, '--host-data', hostData, '--policy', '0xb0000'];
    const { exit, document } = await launch(...boot(), ...files, ...given);
    expect(exit).toBe(0);
    const verify = ['report', 'verify', at('report.bin'), '--certs', at('certs.bin')];
    const expected = ['--measurement', document.measurement, '--report-data', reportData, '--vmpl', '0'];
    const root = ['--root', at('processor/authority/milan/ark.der')];
    const more = ['--allow-debug', '--host-data', hostData];
    const accepted = await run([...verify, ...expected, ...root, ...more]);
    expect(accepted, accepted.stdout + accepted.stderr).toMatchObject({ exit: 0 });
    expect(accepted.stdout).toMatch(/Vouchsafe Development/);
    expect((await run([...verify, ...expected, ...more])).exit).toBe(1);
    const other = [...verify, '--report-data', reportData.replaceAll('d', 'c'), ...root, ...more];
    expect((await run(other)).exit).toBe(1);
  });

  it('takes an ID block of this guest, and of no other', async () => {
    await ok('id-block', 'generate-key', at('id.pem'));
    const create = async (measurement: string) =>
      ok(
        ...['id-block', 'create', '--measurement', measurement, '--id-key', at('id.pem')],
        ...['--out', at('id.block'), '--auth-out', at('id.auth')],
      );
    const idBlock = ['--id-block', at('id.block'), '--id-auth', at('id.auth')];
    await create(await digest('--vcpus', '1', '--vcpu-type', 'EPYC-Milan'));
    expect((await launch(...idBlock)).exit).toBe(0);
    await create('00'.repeat(48));
    const refused = await run(['host', 'launch', '--mode', 'snp', ...software, ...idBlock]);
    expect([refused.exit, refused.stderr]).toEqual([
      3,
      expect.stringMatching(/SNP_LAUNCH_FINISH.*BAD_MEASUREMENT/),
    ]);
  });

  it.each<[string[], number, string]>([
    [['--owner', 'http://127.0.0.1:1'], 2, '--owner'],
    [['--disk', 'x.img'], 2, '--disk'],
    [['--id-block', 'x'], 2, '--id-auth'],
    [['--policy', '0x10000'], 3, 'INVALID_PARAM'],
    [['--firmware', 'KERNEL'], 2, 'firmware'],
    [['--generation', 'naples', '--software', 'NAPLES'], 3, 'naples'],
  ])('says what is wrong: %j', async (options, exit, said) => {
    const places: Record<string, string> = { KERNEL: at('kernel'), NAPLES: at('naples') };
    const words = options.map((word) => places[word] ?? word);
    const outcome = await run(['host', 'launch', '--mode', 'snp', ...software, ...words]);
    expect([outcome.exit, outcome.stderr]).toEqual([exit, expect.stringContaining(said)]);
    expect(outcome.stderr).not.toMatch(/^\s+at /m);
  });

  it('is the only mode that takes its options', async () => {
    for (const option of ['--id-block', '--host-data', '--policy', '--report']) {
      const value = option === '--host-data' ? '00'.repeat(32) : '0x1';
      const words = ['host', 'launch', ...software, '--owner', 'http://127.0.0.1:1', option, value];
      const { exit, stderr } = await run(words);
      expect([exit, stderr]).toEqual([2, expect.stringContaining(option)]);
    }
    expect((await run(['host', 'launch', ...software])).stderr).toMatch(/--owner.*has to be given/);
  });
});

describe('host serve --mode snp', () => {
  it('serves the guest as QEMU 9.1 would, with nothing to inject and nothing to measure', async () => {
    const served = await start<{ mode: string }>([
      ...['host', 'serve', '--mode', 'snp', ...software, '--qmp', at('vm.sock'), '--vcpus', '2'],
    ]);
    expect(served.document.mode).toBe('snp');
    const client = await connectQmp(at('vm.sock'));
    expect(client.version.qemu).toMatchObject({ major: 9, minor: 1 });
    expect(await client.execute('query-sev')).toEqual({
      enabled: true,
      'api-major': 1,
      'api-minor': 55,
      'build-id': 24,
      state: 'launch-update',
      'sev-type': 'sev-snp',
      'snp-policy': 0x30000,
    });
    await expect(client.execute('query-sev-launch-measure')).rejects.toThrow(/not available/);
    const secret = { 'packet-header': 'AAAA', secret: 'AAAA' };
    await expect(client.execute('sev-inject-launch-secret', { arguments: secret })).rejects.toThrow(
      /LSECRET/,
    );
    const status = await run(['host', 'status', '--qmp', at('vm.sock')]);
    expect([status.exit, status.stderr]).toEqual([3, expect.stringMatching(/SEV-SNP.*\n.*guest report/)]);
    await client.execute('cont');
    const measurement = await digest('--vcpus', '2', '--vcpu-type', 'EPYC-Milan');
    await served.saw(`my measurement: ${measurement}`);
    expect(await client.execute('query-sev')).toMatchObject({ state: 'running' });
    await client.close();
    expect((await served.stop()).exit).toBe(0);
    expect(() => readFileSync(at('vm.sock'))).toThrow();
  });
});
