import { execFile } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { buildGuestFirmware } from '@vouchsafe/guest';
import { describe, expect, onTestFinished, test } from 'vitest';
import { temporaryFolder } from '../../../kds/src/testing/temporary.js';
import { serveVirtualMachine } from '../qmp/serve-vm.js';
import { launchMachine } from '../testing/launch-fixture.js';
import { readLaunchFiles } from './launch-files.js';

/**
 * Tools written for QEMU work against a served software machine: the owner here is a script that imports nothing of
 * ours, and Debian's virt-qemu-sev-validate judges the measurement and makes the secret packet.
 */
const validator = '/usr/bin/virt-qemu-sev-validate';
const script = fileURLToPath(new URL('../testing/independent-owner.mjs', import.meta.url));
const run = promisify(execFile);

const owner = async (...commandLine: string[]) =>
  JSON.parse((await run(process.execPath, [script, ...commandLine])).stdout) as Record<string, unknown>;

async function launchedFor(policy: number, more: Partial<Parameters<typeof readLaunchFiles>[0]> = {}) {
  const { host, seen } = launchMachine();
  const folder = temporaryFolder();
  const file = (name: string, content: Uint8Array | string) => {
    const path = join(folder, name);
    writeFileSync(path, content, { mode: 0o600 });
    return path;
  };
  const files = {
    firmware: file('firmware.fd', buildGuestFirmware()),
    secret: file('disk-key', 'an owner’s disk key'),
    kernel: file('kernel', 'kernel'.repeat(999)),
    initrd: file('initrd', 'initrd'),
  };

  const unlaunched = await serveVirtualMachine({ machine: host, socketPath: join(folder, 'ask') });
  await owner('session', unlaunched.socketPath, folder, String(policy));
  await unlaunched.close();

  const { kernel, initrd } = files;
  const configuration = await readLaunchFiles({
    policy,
    channel: { godhCertificate: join(folder, 'godh.b64'), session: join(folder, 'session.b64') },
    firmware: files.firmware,
    directBoot: { kernel, initrd, commandLine: 'root=/dev/vda quiet' },
    memory: 0x20_0000,
    ...more,
  });
  const served = await serveVirtualMachine({ machine: host, socketPath: join(folder, 'qmp'), configuration });
  onTestFinished(() => served.close());
  const expected = [
    '--firmware',
    files.firmware,
    '--kernel',
    kernel,
    '--initrd',
    initrd,
    '--cmdline',
    'root=/dev/vda quiet',
  ];
  return { served, folder, files, expected, seen };
}

const title = 'an owner without anything of ours, with virt-qemu-sev-validate';
if (!existsSync(validator)) {
  test(`${title}: skipped, Debian's package libvirt-clients-qemu is not installed`, () => {
    expect(existsSync(validator)).toBe(false);
  });
} else {
  describe(title, () => {
    test('attests a SEV guest over QMP and gives it the disk key', async () => {
      const { served, folder, files, expected, seen } = await launchedFor(0x01);
      const outcome = await owner('attest', served.socketPath, folder, files.secret, ...expected);
      expect(outcome).toMatchObject({
        before: { status: 'prelaunch', running: false },
        verdict: { code: 0, text: 'OK: Looks good to me\nOK: Injected 1 secrets' },
        injected: {},
        after: { enabled: true, state: 'running', policy: 1 },
      });
      const { diskKey, commandLine } = await seen;
      expect(new TextDecoder().decode(diskKey)).toBe('an owner’s disk key');
      expect(commandLine).toBe('root=/dev/vda quiet');
    });

    test('attests a SEV-ES guest with two vCPUs', async () => {
      const { served, folder, files, expected, seen } = await launchedFor(0x05, {
        vcpus: 2,
        vmsaFpu: 'zero',
      });
      const cpu = ['--num-cpus', '2', '--cpu-family', '25', '--cpu-model', '1', '--cpu-stepping', '1'];
      const outcome = await owner('attest', served.socketPath, folder, files.secret, ...expected, ...cpu);
      expect(outcome).toMatchObject({
        verdict: { code: 0 },
        injected: {},
        after: { state: 'running', policy: 5 },
      });
      expect(new TextDecoder().decode((await seen).diskKey)).toBe('an owner’s disk key');
    });

    test('refuses a guest with another kernel, and gives it nothing', async () => {
      const { served, folder, files, expected } = await launchedFor(0x01);
      const other = expected.map((argument) => (argument === files.kernel ? files.initrd : argument));
      const outcome = await owner('attest', served.socketPath, folder, files.secret, ...other);
      expect(outcome).toEqual({
        before: { status: 'prelaunch', singlestep: false, running: false },
        verdict: { code: 1, text: 'ERROR: Measurement does not match, VM is not trustworthy' },
      });
      expect(await served.machine?.status()).toBe('prelaunch');
    });

    test('a packet that was altered on its way is refused by the processor, in QEMU’s words', async () => {
      const { served, folder, files, expected } = await launchedFor(0x01);
      const outcome = await owner('attest', served.socketPath, folder, files.secret, '--alter', ...expected);
      expect(outcome).toMatchObject({
        verdict: { code: 0 },
        injected: "GenericError: SEV: failed to inject secret ret=-5 fw_error=11 'Bad measurement'",
        after: { state: 'launch-secret' },
      });
    });
  });
}
