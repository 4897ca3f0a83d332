import { execFile } from 'node:child_process';
import { readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { buildGuestFirmware, hasCryptsetup } from '@vouchsafe/guest';
import { openDevelopmentAuthority } from '@vouchsafe/kds';
import {
  calculateSnpLaunchDigest,
  createIdBlock,
  generateP384,
  toHex,
  vcpuSignatureOf,
} from '@vouchsafe/sev';
import { describe, expect, it, onTestFinished } from 'vitest';
import { testAuthorityKeys } from '../../../../../kds/src/testing/authority-keys.js';
import { temporaryFolder } from '../../../../../kds/src/testing/temporary.js';
import { repository } from '../../../testing/process.js';
import { run, runJson, start } from '../../../testing/run.js';

interface Served {
  readonly folder: string;
  readonly socket: string;
  readonly measurement: string;
  readonly root: { readonly file: string; readonly name: string };
}

/** A folder to work in, with the state of one chip whose authority is there. */
async function workFolder() {
  const folder = temporaryFolder();
  const at = (name: string) => join(folder, name);
  for (const chip of ['chip', 'other-chip']) {
    await openDevelopmentAuthority({
      folder: at(`${chip}/authority`),
      generation: 'milan',
      generateKeys: testAuthorityKeys,
    });
  }
  return at;
}

type At = Awaited<ReturnType<typeof workFolder>>;

/** `guest device serve`, until it is stopped or the test is over. */
async function serve(at: At, words: readonly string[] = [], chip = 'chip') {
  const places = ['--folder', at('report'), '--socket', at('vsnp.socket')];
  const service = await start<Served>([
    'guest',
    'device',
    'serve',
    '--software',
    at(chip),
    ...places,
    ...words,
  ]);
  let isUp = true;
  const stop = async () => {
    if (isUp) expect((await service.stop()).exit).toBe(0);
    isUp = false;
  };
  onTestFinished(stop);
  return { ...service.document, stop };
}

const socketOf = (at: At) => ['--device', `socket:${at('vsnp.socket')}`];
const nonce = Uint8Array.from({ length: 64 }, (_, i) => 3 * i);

describe('guest report', () => {
  it('gives a report that verifies under the root of its own chip, and under no other', async () => {
    const at = await workFolder();
    const served = await serve(at, ['--host-data', 'ab'.repeat(32)]);
    expect(served.root.name).toMatch(/^Vouchsafe Development/);
    writeFileSync(at('nonce'), nonce);
    for (const device of [`socket:${served.socket}`, `configfs:${served.folder}`]) {
      const words = ['guest', 'report', '--device', device, '--nonce', at('nonce'), '--vmpl', '1'];
      const out = ['--out', at('report.bin'), '--certificates', at('certs.bin')];
      const { exit, document } = await runJson<object>([...words, ...out]);
      expect([exit, document]).toMatchObject([0, { certificates: ['ARK', 'ASK', 'VCEK'] }]);
      const verify = ['report', 'verify', at('report.bin'), '--certs', at('certs.bin')];
      const expected = ['--report-data', toHex(nonce), '--measurement', served.measurement, '--vmpl', '1'];
      const trusted = await run([...verify, '--root', served.root.file, ...expected]);
      expect([trusted.exit, trusted.stderr]).toEqual([0, '']);
      expect(trusted.stdout).toContain('Vouchsafe Development');
      expect((await run([...verify, ...expected])).exit, 'under AMD’s roots').toBe(1);
    }
  });

  it('has the measurement that digest computes', async () => {
    const at = await workFolder();
    writeFileSync(at('kernel'), 'a kernel');
    const boot = ['--kernel', at('kernel'), '--append', 'quiet'];
    const { measurement } = await serve(at, [...boot, '--vcpu-type', 'EPYC-Genoa']);
    writeFileSync(at('guest.fd'), buildGuestFirmware());
    const machine = ['--mode', 'snp', '--ovmf', at('guest.fd'), '--vcpus', '1', '--vcpu-type', 'EPYC-Genoa'];
    const { stdout } = await run(['digest', ...machine, ...boot, '--output-format', 'hex']);
    expect(stdout.trim()).toBe(measurement);
  });

  it('is had with the script of docs/attestation-folder.md, without any program of ours', async () => {
    const at = await workFolder();
    const { folder, root, measurement } = await serve(at);
    const page = readFileSync(join(repository, 'docs/attestation-folder.md'), 'utf8');
    const script = /^```sh\n(.*?)^```$/ms.exec(page)?.[1] ?? 'false';
    expect(new Set(script.match(/^[a-z]+/gm)), 'programs of the script').toEqual(new Set(['mkdir', 'cat']));
    writeFileSync(at('nonce.bin'), nonce);
    const env = { PATH: process.env['PATH'], FOLDER: folder };
    await promisify(execFile)('sh', ['-euc', script], { cwd: at('.'), env, timeout: 60_000 });
    const evidence = [at('report.bin'), '--certs', at('certificates.bin'), '--root', root.file];
    const expected = ['--report-data', toHex(nonce), '--measurement', measurement];
    const { exit, stderr } = await run(['report', 'verify', ...evidence, ...expected]);
    expect([exit, stderr]).toEqual([0, '']);
  });

  it('draws its own bytes when asked to, and gives them away', async () => {
    const at = await workFolder();
    await serve(at);
    const words = ['guest', 'report', ...socketOf(at), '--random', at('drawn'), '--out', at('report.bin')];
    expect((await run(words)).exit).toBe(0);
    const report = readFileSync(at('report.bin'));
    expect(report.subarray(0x50, 0x90)).toEqual(readFileSync(at('drawn')));
  });

  it.each<[string, readonly string[], number]>([
    ['no data', [], 2],
    ['data twice', ['--report-data', '00'.repeat(64), '--random', 'x'], 2],
    ['data of another length', ['--report-data', '00'.repeat(63)], 2],
    ['a level that does not exist', ['--report-data', '00'.repeat(64), '--vmpl', '4'], 2],
    ['a device of another kind', ['--report-data', '00'.repeat(64), '--device', 'tpm'], 2],
    ['a socket that nobody serves', ['--report-data', '00'.repeat(64), '--device', 'socket:/none'], 3],
    ['a folder that nobody serves', ['--report-data', '00'.repeat(64), '--device', 'configfs:/none'], 3],
    ['a driver that is not there', ['--report-data', '00'.repeat(64), '--device', 'sev-guest:/none'], 3],
  ])('with %s is refused', async (_what, words, exit) => {
    expect((await run(['guest', 'report', '--out', '/dev/null', ...words])).exit).toBe(exit);
  });
});

describe('guest key', () => {
  it('is the same for the same fields, is never printed, and is not written over', async () => {
    const at = await workFolder();
    await serve(at);
    const derive = (out: string, ...words: string[]) =>
      run(['guest', 'key', ...socketOf(at), '--out', at(out), ...words]);
    const first = await derive('one');
    expect(first.exit).toBe(0);
    const hex = readFileSync(at('one')).toString('hex');
    expect(hex).toHaveLength(64);
    expect(first.stdout + first.stderr).not.toContain(hex);
    expect(first.stdout).toContain('the launch digest');
    expect(statSync(at('one')).mode & 0o777).toBe(0o600);
    expect((await derive('two')).exit).toBe(0);
    expect((await derive('three', '--fields', 'none')).exit).toBe(0);
    expect(readFileSync(at('two')).toString('hex')).toBe(hex);
    expect(readFileSync(at('three')).toString('hex')).not.toBe(hex);
    expect((await derive('two')).exit).toBe(3);
    expect((await derive('two', '--force', '--root', 'vmrk')).exit).toBe(0);
    expect(readFileSync(at('two')).toString('hex')).not.toBe(hex);
  });

  it('that the firmware does not give is a refusal', async () => {
    const at = await workFolder();
    await serve(at);
    const words = ['guest', 'key', ...socketOf(at), '--out', at('key')];
    const above = await run([...words, '--fields', 'svn', '--svn', '1']);
    expect([above.exit, above.stderr]).toEqual([1, expect.stringContaining('INVALID_PARAM')]);
    const vlek = await run([...words, '--root', 'vlek']);
    expect([vlek.exit, vlek.stderr]).toEqual([1, expect.stringContaining('INVALID_KEY')]);
  });

  it.each<[string, readonly string[], number]>([
    ['a field that does not exist', ['--fields', 'policy,colour'], 2],
    ['a value of a field that does not count', ['--fields', 'policy', '--svn', '1'], 2],
    ['a device without keys', ['--device', 'configfs:/none'], 3],
  ])('with %s is refused', async (_what, words, exit) => {
    expect((await run(['guest', 'key', '--out', '/none/key', ...words])).exit).toBe(exit);
  });
});

/** An ID block for the guest that is served by default, of a security version. */
async function idBlock(at: At, guestSvn: number, idKey = generateP384()): Promise<string[]> {
  const { digest } = await calculateSnpLaunchDigest({
    firmware: buildGuestFirmware(),
    vcpus: 1,
    vcpuSignature: vcpuSignatureOf('EPYC-Milan'),
  });
  const made = await createIdBlock({ launchDigest: digest, guestSvn, idKey: await idKey });
  writeFileSync(at(`block-${guestSvn}`), made.idBlock);
  writeFileSync(at(`auth-${guestSvn}`), made.idAuthentication);
  return ['--id-block', at(`block-${guestSvn}`), '--id-auth', at(`auth-${guestSvn}`)];
}

describe('guest seal', () => {
  it('opens after a restart; on another chip, of another owner or of an older guest it does not', async () => {
    const at = await workFolder();
    const key = generateP384();
    writeFileSync(at('state'), 'what this guest may know');
    const [svn3, svn2] = [await idBlock(at, 3, key), await idBlock(at, 2, key)];
    const unseal = async () => {
      const words = ['guest', 'unseal', at('sealed'), ...socketOf(at), '--out', at('opened'), '--force'];
      const { exit, stderr } = await run(words);
      return [exit, exit === 0 ? readFileSync(at('opened'), 'utf8') : stderr];
    };

    const first = await serve(at, svn3);
    const fields = ['--fields', 'measurement,svn,tcb'];
    const sealing = await run([
      'guest',
      'seal',
      at('state'),
      ...socketOf(at),
      ...fields,
      '--out',
      at('sealed'),
    ]);
    expect([sealing.exit, sealing.stdout]).toEqual([0, expect.stringContaining('version of at least 3')]);
    expect(readFileSync(at('sealed')).includes('guest may know')).toBe(false);
    await first.stop();

    const again = await serve(at, svn3);
    expect(await unseal()).toEqual([0, 'what this guest may know']);
    await again.stop();

    const otherChip = await serve(at, svn3, 'other-chip');
    expect(await unseal()).toEqual([1, expect.stringContaining('does not open it')]);
    await otherChip.stop();

    const older = await serve(at, svn2);
    expect(await unseal()).toEqual([1, expect.stringContaining('INVALID_PARAM')]);
    await older.stop();

    const otherOwner = await serve(at, await idBlock(at, 4));
    expect(await unseal()).toEqual([1, expect.stringContaining('does not open it')]);
    await otherOwner.stop();
  });

  it('takes a file or a volume, not both, and unseal neither nor both', async () => {
    expect((await run(['guest', 'seal', '--out', '/none/x', '--device', 'socket:/none'])).exit).toBe(2);
    const both = [
      'guest',
      'seal',
      '/none/a',
      '--volume',
      '/none/b',
      '--out',
      '/none/x',
      '--device',
      'socket:/none',
    ];
    expect((await run(both)).exit).toBe(2);
    expect((await run(['guest', 'unseal', '/none/a'])).exit).toBe(2);
    expect((await run(['guest', 'unseal', '/none/a', '--out', '/none/b', '--name', 'x'])).exit).toBe(2);
  });

  it('what is no sealed file is said', async () => {
    const at = await workFolder();
    await serve(at);
    writeFileSync(at('file'), 'no sealed file at all');
    const { exit, stderr } = await run(['guest', 'unseal', at('file'), ...socketOf(at), '--out', at('x')]);
    expect([exit, stderr]).toEqual([2, expect.stringContaining('magic')]);
  });

  it('seals a volume', async ({ skip }) => {
    if (!(await hasCryptsetup())) skip('cryptsetup is not installed (package cryptsetup-bin)');
    const at = await workFolder();
    await serve(at);
    writeFileSync(at('disk.img'), '');
    truncateSync(at('disk.img'), 20 * 1024 * 1024);
    const words = ['guest', 'seal', '--volume', at('disk.img'), ...socketOf(at), '--out', at('disk.sealed')];
    expect((await run(words)).exit).toBe(0);
    const twice = await run([...words, '--out', at('again.sealed')]);
    expect([twice.exit, twice.stderr]).toEqual([2, expect.stringContaining('a LUKS volume already')]);
    const unseal = ['guest', 'unseal', at('disk.sealed'), ...socketOf(at), '--volume', at('disk.img')];
    const { exit, stdout } = await run(unseal);
    expect([exit, stdout]).toEqual([0, `The key unlocks ${at('disk.img')}.\n`]);
  });
});

describe('guest device serve', () => {
  it.each<[string, readonly string[], number]>([
    ['nowhere to serve', [], 2],
    ['half an ID block', ['--socket', '/none/s', '--id-block', '/none/b'], 2],
    ['a generation without SEV-SNP', ['--socket', '/none/s', '--generation', 'rome'], 2],
  ])('with %s is refused', async (_what, words, exit) => {
    const { exit: found } = await run(['guest', 'device', 'serve', '--software', '/none/chip', ...words]);
    expect(found).toBe(exit);
  });

  it('says which step of the launch the processor refused', async () => {
    const at = await workFolder();
    const words = [
      'guest',
      'device',
      'serve',
      '--software',
      at('chip'),
      '--socket',
      at('s'),
      '--policy',
      '0x20000',
    ];
    const { exit, stderr } = await run(words);
    expect([exit, stderr]).toEqual([3, expect.stringContaining('POLICY_FAILURE')]);
  });
});
