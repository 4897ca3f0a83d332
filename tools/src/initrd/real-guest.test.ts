import { execFileSync } from 'node:child_process';
import { createHash, X509Certificate } from 'node:crypto';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { buildGuestFirmware } from '@vouchsafe/guest';
import { calculateSnpLaunchDigest, toHex, vcpuSignatureOf } from '@vouchsafe/sev';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run, runJson, type Started, start } from '../../../packages/cli/src/testing/run.js';
import { buildInitrd } from './build-initrd.js';
import { findDebianKernel } from './debian-kernel.js';
import { bootVirtualMachine } from './testing/virtual-machine.js';

const root = resolve(import.meta.dirname, '../../..');
const greeting = 'This line lies encrypted on the disk.';

/** The first of what is needed and not here: the name of its Debian package. */
function missingPackage(): string | undefined {
  const programs = {
    'qemu-system-x86': '/usr/bin/qemu-system-x86_64',
    'cryptsetup-bin': '/usr/sbin/cryptsetup',
    e2fsprogs: '/usr/sbin/mke2fs',
    openssl: '/usr/bin/openssl',
  };
  const absent = Object.entries(programs).find(([, path]) => !existsSync(path));
  if (absent !== undefined) return absent[0];
  const kernel = findDebianKernel();
  return 'missing' in kernel ? kernel.missing : undefined;
}

interface Guest {
  readonly measurement: string;
  /** What it wrote on its console until it switched itself off. */
  readonly output: Promise<string>;
}

const missing = missingPackage();
if (missing !== undefined) it(`skipped: ${missing} is not here (tools/test sets it up)`, () => undefined);

describe.runIf(missing === undefined)('a real guest under QEMU', () => {
  const folder = mkdtempSync(join(tmpdir(), 'vouchsafe-real-guest-'));
  const at = (name: string) => join(folder, name);
  const started: Started<unknown>[] = [];
  const kernel = findDebianKernel();
  if ('missing' in kernel) return;
  let commandLine: string;
  let measurement: string;
  let guest: Guest;
  let twin: Guest;

  const serve = async <T>(...words: string[]) => {
    const server = await start<T>(words);
    started.push(server);
    return server.document;
  };
  const succeed = async <T>(...words: string[]): Promise<T> => {
    const { exit, document, stdout } = await runJson<T>(words);
    if (exit !== 0) throw new Error(`vouchsafe ${words.join(' ')}: ${stdout}`);
    return document;
  };

  /** Launches the software machine with these files and boots the same in QEMU; gives what its console says. */
  const boot = async (name: string, initrd: string): Promise<Guest> => {
    const socket = at(`${name}.socket`);
    const device = await serve<{ measurement: string }>(
      ...['guest', 'device', 'serve', '--software', at('machine'), '--socket', socket],
      ...['--kernel', kernel.kernel, '--initrd', initrd, '--append', commandLine],
    );
    const files = {
      kernel: kernel.kernel,
      initrd,
      commandLine,
      disk: at('disk.img'),
      attestationSocket: socket,
    };
    const output = bootVirtualMachine(files);
    // The test that waits for it is told; until then another may fail.
    output.catch(() => undefined);
    return { ...device, output };
  };

  beforeAll(async () => {
    writeFileSync(at('initrd'), await buildInitrd({ root, ...kernel }));

    mkdirSync(at('content'));
    writeFileSync(at('content/greeting'), greeting);
    const image = ['-q', '-t', 'ext4', '-b', '4096', '-d', at('content'), at('plain.img'), '4M'];
    execFileSync('mke2fs', image, { stdio: 'ignore' });
    const { binding } = await succeed<{ binding: string }>(
      ...['disk', 'create', at('disk.img'), '--content', at('plain.img'), '--generate-key', at('disk.key')],
    );

    const certificate = `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=broker -addext subjectAltName=IP:127.0.0.1`;
    const tls = ['-keyout', at('tls.key'), '-out', at('tls.pem')];
    execFileSync('openssl', [...certificate.split(' '), ...tls], { stdio: 'ignore' });
    const fingerprint = createHash('sha256').update(new X509Certificate(readFileSync(at('tls.pem'))).raw);

    const kds = await serve<{ url: string; snpArk: string }>(
      ...['kds', 'serve', '--authority', at('machine/authority')],
    );
    const data = ['--data', at('broker')];
    await succeed(
      ...['broker', 'init', ...data, '--root', kds.snpArk, '--kds', kds.url, '--listen', '127.0.0.1:0'],
    );
    appendFileSync(
      at('broker/broker.toml'),
      `\n[tls]\ncertificate = ${JSON.stringify(at('tls.pem'))}\nkey = ${JSON.stringify(at('tls.key'))}\n`,
    );
    const broker = await serve<{ address: string }>('broker', 'serve', ...data);
    const { port } = new URL(broker.address);

    commandLine = [
      ...['console=ttyS0', 'panic=-1', 'quiet', 'vouchsafe.address=10.0.2.15/24', 'vouchsafe.disk=/dev/vda'],
      ...[`vouchsafe.broker=https://10.0.2.2:${port}`, `vouchsafe.fingerprint=${fingerprint.digest('hex')}`],
      ...['vouchsafe.key=kbs:///default/disk/root', `vouchsafe.binding=${binding}`],
      'vouchsafe.device=socket:/dev/virtio-ports/vouchsafe',
    ].join(' ');
    measurement = toHex(
      (
        await calculateSnpLaunchDigest({
          firmware: buildGuestFirmware(),
          kernel: new Uint8Array(readFileSync(kernel.kernel)),
          initrd: new Uint8Array(readFileSync(at('initrd'))),
          append: commandLine,
          vcpus: 1,
          vcpuSignature: vcpuSignatureOf('EPYC-Milan'),
          vmmType: 'QEMU',
          guestFeatures: 1n,
          vmsaFpu: 'set',
        })
      ).digest,
    );
    const admin = [...data, '--ca', at('tls.pem')];
    await succeed('broker', 'reference', 'publish', ...admin, '--measurement', measurement);
    await succeed('broker', 'policy', 'set', 'default', ...admin, '--reference', 'owner/images');
    await succeed('broker', 'secret', 'put', 'default/disk/root', ...admin, '--from', at('disk.key'));

    // Both at once: there are two processors in most machines that test.
    guest = await boot('guest', at('initrd'));
    const changed = readFileSync(at('initrd'));
    // In a comment of /init: the machine boots as before, and does the same.
    const place = changed.indexOf('The whole user space');
    changed[place] = changed[place]! ^ 0x20;
    writeFileSync(at('changed'), changed);
    twin = await boot('twin', at('changed'));
  });

  afterAll(async () => {
    for (const server of started.toReversed()) await server.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  it('attests, gets its key, opens its disk through dm-crypt, and reads what is on it', async () => {
    const output = await guest.output;
    expect(guest.measurement).toBe(measurement);
    expect(output).toContain('Unlocked /dev/vda as /dev/mapper/root.');
    expect(output).toContain(`vouchsafe: from inside the disk: ${greeting}`);
    const { stdout } = await run(['broker', 'audit', 'tail', '--data', at('broker'), '--ca', at('tls.pem')]);
    expect(stdout).toContain('release');
  });

  it('with one byte of its initrd changed gets no key', async () => {
    const output = await twin.output;
    expect(twin.measurement).not.toBe(measurement);
    expect(output).toContain('the key broker does not release default/disk/root');
    expect(output).toContain('vouchsafe: the disk stays locked');
    expect(output).not.toContain(greeting);
  });
});
