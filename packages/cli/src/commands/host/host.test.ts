import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sealStandInVolume } from '@vouchsafe/guest';
import { connectQmp } from '@vouchsafe/host';
import { Secret, systemRandom } from '@vouchsafe/sev';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run, runJson, start } from '../../testing/run.js';

const folder = mkdtempSync(join(tmpdir(), 'vouchsafe-host-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const at = (name: string) => join(folder, name);
const software = ['--software', at('processor'), '--generation', 'naples'];
const root = ['--root', at('processor/authority/naples/ark.cert')];
const passphrase = 'correct horse battery staple';
const boot = () => ['--kernel', at('kernel'), '--initrd', at('initrd'), '--append', 'console=ttyS0'];
const text = (value: string) => new TextEncoder().encode(value);

const ok = async (...words: string[]) => {
  const outcome = await run(words);
  expect(outcome, outcome.stderr).toMatchObject({ exit: 0 });
  return outcome.stdout;
};

beforeAll(async () => {
  writeFileSync(at('kernel'), 'a kernel');
  writeFileSync(at('initrd'), 'an initrd');
  writeFileSync(at('disk.key'), passphrase);
  const key = Secret.take(text(passphrase));
  writeFileSync(at('disk.img'), sealStandInVolume({ content: text('the disk'), key, random: systemRandom }));
  await ok('guest', 'firmware', at('guest.fd'));
  await ok('platform', 'export', ...software, '--full', at('sev.chain'));
});

describe('broker serve and host launch', () => {
  const broker = (...more: string[]) =>
    start<{ address: string; mode: string; digests: unknown[] }>([
      ...[
        'broker',
        'serve',
        '--firmware',
        at('guest.fd'),
        ...boot(),
        '--secret',
        `luks-key:${at('disk.key')}`,
        ...root,
      ],
      ...more,
    ]);
  const launch = (owner: string, ...more: string[]) =>
    runJson<{ console: string[]; mode: string; checks: { id: string; status: string }[] }>([
      ...['host', 'launch', ...software, '--owner', owner, ...boot(), '--disk', at('disk.img')],
      ...more,
    ]);

  it.each([
    ['SEV', '0xb', []],
    ['SEV-ES', '0xf', ['--vcpus', '2', '--vcpu-type', 'EPYC-Milan']],
  ] as [string, string, string[]][])(
    'unlock the disk of a %s guest, and print no key',
    async (_name, policy, cpus) => {
      const owner = await broker('--policy', policy, ...cpus);
      const { exit, document, stdout, stderr } = await launch(owner.document.address, ...cpus);
      const ended = await owner.stop();
      expect([exit, stderr]).toEqual([0, '']);
      expect(document.console).toContain('stand-in volume unlocked');
      expect(ended.exit).toBe(0);
      expect(ended.stderr).toBe(
        'accepted a session (Vouchsafe Development, Naples)\naccepted a measurement (Vouchsafe Development, Naples)\n',
      );
      expect(stdout + ended.stdout + ended.stderr).not.toContain('horse');
    },
  );

  it('refuse another kernel, with the owner’s check', async () => {
    const owner = await broker('--policy', '0xb', '--socket', at('owner.sock'));
    expect(owner.document.address).toBe(`unix:${at('owner.sock')}`);
    writeFileSync(at('evil'), 'another kernel');
    const { exit, document } = await launch(owner.document.address, '--kernel', at('evil'));
    const { stderr } = await owner.stop();
    expect(exit).toBe(1);
    expect(document.checks.filter(({ status }) => status === 'fail').map(({ id }) => id)).toEqual([
      'measurement.digest',
    ]);
    expect(stderr).toMatch(/refused a measurement .*: measurement\.digest\n/);
  });

  it('refuse a platform under another root', async () => {
    const owner = await start<{ address: string }>([
      ...[
        'broker',
        'serve',
        '--policy',
        '0xb',
        '--firmware',
        at('guest.fd'),
        '--secret',
        `luks-key:${at('disk.key')}`,
      ],
    ]);
    const { exit, document } = await launch(owner.document.address);
    await owner.stop();
    expect(exit).toBe(1);
    expect(document.checks.filter(({ status }) => status === 'fail').map(({ id }) => id)).toContain(
      'chain.ark.root',
    );
  });

  it('let the owner ask the key service itself (case A)', async () => {
    const kds = await start<{ url: string }>([
      'kds',
      'serve',
      '--authority',
      at('processor/authority'),
      '--generation',
      'naples',
    ]);
    const owner = await broker('--policy', '0xb', '--kds', kds.document.url);
    const { exit } = await launch(owner.document.address, '--case', 'A');
    await owner.stop();
    await kds.stop();
    expect(exit).toBe(0);
  });

  it.each([
    [['broker', 'serve', '--policy', '0', '--firmware', 'F', '--secret', 'S'], 2, 'debug'],
    [['broker', 'serve', '--policy', '0xb', '--firmware', 'F'], 2, '--secret'],
    [
      ['broker', 'serve', '--policy', '0xb', '--firmware', 'F', '--secret', 'S', '--host', '0.0.0.0', 'R'],
      2,
      'loopback',
    ],
    [['host', 'launch', '--owner', 'http://127.0.0.1:1', '--kernel', 'F'], 2, '--software'],
    [['host', 'launch', '--owner', 'ftp://x', '--qemu', 'q'], 2, 'guest owner'],
    [['host', 'launch', '--owner', 'http://127.0.0.1:1', '--qemu', 'q'], 2, '--firmware'],
    [['host', 'serve', '--qmp', '/tmp/x', '--software', 'P', '--dh-cert-file', 'F'], 2, '--session-file'],
  ] as [string[], number, string][])('say what is wrong: %j', async (words, status, said) => {
    const places: Record<string, string[]> = {
      F: [at('guest.fd')],
      S: [`luks-key:${at('disk.key')}`],
      P: [at('processor')],
      R: root,
    };
    const { exit, stderr } = await run(words.flatMap((word) => places[word] ?? [word]));
    expect([exit, stderr]).toEqual([status, expect.stringContaining(said)]);
  });
});

describe('host serve', () => {
  async function served(...more: string[]) {
    await ok(
      'session',
      'create',
      at('sev.chain'),
      ...root,
      '--policy',
      '0xb',
      '--name',
      'vm',
      '--out',
      folder,
      '--force',
    );
    const channel = ['--dh-cert-file', at('vm_godh.b64'), '--session-file', at('vm_session.b64')];
    return start<{ qmp: string }>([
      'host',
      'serve',
      ...software,
      '--qmp',
      at('vm.sock'),
      ...channel,
      ...boot(),
      '--disk',
      at('disk.img'),
      ...more,
    ]);
  }

  it('is attested, given its key and unlocked over QMP with the owner’s commands', async () => {
    const vm = await served();
    const qmp = await connectQmp(at('vm.sock'));
    const {
      'api-major': major,
      'api-minor': minor,
      'build-id': buildId,
      policy,
    } = (await qmp.execute('query-sev')) as Record<string, number>;
    const { data } = (await qmp.execute('query-sev-launch-measure')) as { data: string };
    const platform = [
      '--api-major',
      `${major}`,
      '--api-minor',
      `${minor}`,
      '--build-id',
      `${buildId}`,
      '--policy',
      `${policy}`,
    ];
    const expected = [
      '--tik',
      at('vm_tik.bin'),
      '--firmware',
      at('guest.fd'),
      '--kernel',
      at('kernel'),
      '--initrd',
      at('initrd'),
      '--cmdline',
      'console=ttyS0',
    ];
    expect(
      await ok('measurement', 'verify', ...platform, ...expected, '--launch-measure-blob', data),
    ).toMatch(/^accepted/);
    expect(await ok('measurement', 'build', ...platform, ...expected, '--launch-measure-blob', data)).toBe(
      `${data}\n`,
    );

    const keys = ['--tik', at('vm_tik.bin'), '--tek', at('vm_tek.bin'), '--launch-measure-blob', data];
    await ok(
      'secret',
      'build',
      ...keys,
      '--secret',
      `luks-key:${at('disk.key')}`,
      at('header.bin'),
      at('payload.bin'),
    );
    const base64 = (name: string) => readFileSync(at(name)).toString('base64');
    await qmp.execute('sev-inject-launch-secret', {
      arguments: { 'packet-header': base64('header.bin'), secret: base64('payload.bin') },
    });

    const mnonce = Buffer.alloc(16, 7);
    const report = (await qmp.execute('query-sev-attestation-report', {
      arguments: { mnonce: mnonce.toString('base64') },
    })) as { data: string };
    writeFileSync(at('report.b64'), report.data);
    const verify = [
      'attestation-report',
      'verify',
      at('report.b64'),
      at('sev.chain'),
      ...root,
      '--policy',
      '0xb',
    ];
    expect(await ok(...verify, '--mnonce', mnonce.toString('hex'))).toMatch(
      /^accepted: attestation report\n {2}root: Vouchsafe Development, Naples/,
    );
    expect((await run([...verify, '--mnonce', '00'.repeat(16)])).exit).toBe(1);
    expect(
      (await run([...verify.filter((word) => !root.includes(word)), '--mnonce', mnonce.toString('hex')]))
        .exit,
    ).toBe(1);

    await qmp.execute('cont');
    await vm.saw('stand-in volume unlocked');
    await qmp.close();
    const { exit, stderr } = await vm.stop();
    expect(exit).toBe(0);
    expect(stderr).toContain('guest: stand-in volume unlocked\n');
    expect(stderr).not.toContain('horse');
    expect(existsSync(at('vm.sock'))).toBe(false);
  });

  const validator = '/usr/bin/virt-qemu-sev-validate';
  const installed = existsSync(validator);
  it.skipIf(!installed)('is accepted by virt-qemu-sev-validate (package libvirt-clients-qemu)', async () => {
    const vm = await served();
    const qmp = await connectQmp(at('vm.sock'));
    const {
      'api-major': major,
      'api-minor': minor,
      'build-id': buildId,
    } = (await qmp.execute('query-sev')) as Record<string, number>;
    const { data } = (await qmp.execute('query-sev-launch-measure')) as { data: string };
    const validate = (firmware: string) =>
      spawnSync('/usr/bin/python3', [
        ...[
          validator,
          '--measurement',
          data,
          '--tik',
          at('vm_tik.bin'),
          '--tek',
          at('vm_tek.bin'),
          '--firmware',
          firmware,
        ],
        ...['--kernel', at('kernel'), '--initrd', at('initrd'), '--cmdline', 'console=ttyS0'],
        ...[
          '--api-major',
          `${major}`,
          '--api-minor',
          `${minor}`,
          '--build-id',
          `${buildId}`,
          '--policy',
          '11',
        ],
      ]);
    expect(validate(at('guest.fd')).status).toBe(0);
    const altered = readFileSync(at('guest.fd'));
    altered[100]! ^= 1;
    writeFileSync(at('altered.fd'), altered);
    expect(validate(at('altered.fd')).status).toBe(1);
    await qmp.execute('quit');
    expect((await vm.stop()).exit).toBe(0);
  });

  it('is driven by the commands of host as well', async () => {
    const vm = await served();
    const socket = ['--qmp', at('vm.sock')];
    const { document } = await runJson<{ launchMeasureBlob: string; state: string }>([
      'host',
      'status',
      ...socket,
    ]);
    expect(document.state).toBe('launch-secret');
    expect(await ok('host', 'status', ...socket)).toContain(document.launchMeasureBlob);
    const keys = [
      '--tik',
      at('vm_tik.bin'),
      '--tek',
      at('vm_tek.bin'),
      '--launch-measure-blob',
      document.launchMeasureBlob,
    ];
    await ok(
      'secret',
      'build',
      ...keys,
      '--secret',
      `luks-key:${at('disk.key')}`,
      at('header.bin'),
      at('payload.bin'),
    );
    const wrong = await run(['host', 'inject', at('header.bin'), at('kernel'), ...socket]);
    expect([wrong.exit, wrong.stderr]).toEqual([3, expect.not.stringMatching(/^\s+at /m)]);
    await ok('host', 'inject', at('header.bin'), at('payload.bin'), ...socket);
    await ok('host', 'report', at('report.bin'), ...socket, '--mnonce', '07'.repeat(16));
    await ok('host', 'resume', ...socket);
    await vm.saw('stand-in volume unlocked');
    await ok('host', 'quit', ...socket);
    expect((await vm.stop()).exit).toBe(0);
    expect((await run(['host', 'status', ...socket])).exit).toBe(3);
  });

  it('does not start under another policy than the session’s', async () => {
    const refused = await served('--policy', '0x1');
    const { exit, stdout } = await refused.stop();
    expect([exit, stdout]).toEqual([3, expect.stringContaining('BAD_MEASUREMENT')]);
  });
});
