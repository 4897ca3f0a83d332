import { execFileSync } from 'node:child_process';
import { createHash, X509Certificate } from 'node:crypto';
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildGuestFirmware } from '@vouchsafe/guest';
import { calculateSnpLaunchDigest, toHex, vcpuSignatureOf } from '@vouchsafe/sev';
import { runJson, type Started, start } from '../../../../packages/cli/src/testing/run.js';
import { findDebianKernel } from '../debian-kernel.js';
import { bootVirtualMachine, type VirtualMachineOptions } from './virtual-machine.js';

/** The first of what a virtual machine with an encrypted disk needs and is not here: the name of its Debian package. */
export function missingPackage(): string | undefined {
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

export interface BootedGuest {
  /** Of the software machine's launch, in hexadecimal. */
  readonly measurement: string;
  /** What it wrote on its console until it came to its end. */
  readonly output: Promise<string>;
}

/**
 * An encrypted disk whose key a broker has, and machines that boot with it: each is launched on the software machine and
 * run by QEMU, with the same kernel, initrd and command line.
 */
export class EncryptedDisk {
  readonly kernel: string;
  /** On the command line of every guest: the disk, its binding, its key, the broker and the attestation device. */
  parameters = '';
  readonly #folder = mkdtempSync(join(tmpdir(), 'vouchsafe-real-guest-'));
  readonly #started: Started<unknown>[] = [];

  constructor(kernel: string) {
    this.kernel = kernel;
  }

  at(name: string): string {
    return join(this.#folder, name);
  }

  /** What administrators of the broker say on every command. */
  get administration(): string[] {
    return ['--data', this.at('broker'), '--ca', this.at('tls.pem')];
  }

  /**
   * Makes the disk and has the broker serve its key to what is admitted.
   * @param content folder whose files are on the disk
   * @param size of its file system, as mke2fs takes it
   */
  async prepare(content: string, size: string): Promise<void> {
    const image = ['-q', '-t', 'ext4', '-b', '4096', '-d', content, this.at('plain.img'), size];
    execFileSync('mke2fs', image, { stdio: 'ignore' });
    const { binding } = await this.#succeed<{ binding: string }>(
      ...['disk', 'create', this.at('disk.img'), '--content', this.at('plain.img')],
      ...['--generate-key', this.at('disk.key')],
    );

    const certificate = `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=broker -addext subjectAltName=IP:127.0.0.1`;
    const tls = ['-keyout', this.at('tls.key'), '-out', this.at('tls.pem')];
    execFileSync('openssl', [...certificate.split(' '), ...tls], { stdio: 'ignore' });
    const { raw } = new X509Certificate(readFileSync(this.at('tls.pem')));
    const fingerprint = createHash('sha256').update(raw).digest('hex');

    const kds = await this.#serve<{ url: string; snpArk: string }>(
      ...['kds', 'serve', '--authority', this.at('machine/authority')],
    );
    const roots = ['--root', kds.snpArk, '--kds', kds.url, '--listen', '127.0.0.1:0'];
    await this.#succeed('broker', 'init', '--data', this.at('broker'), ...roots);
    appendFileSync(
      this.at('broker/broker.toml'),
      `\n[tls]\ncertificate = ${JSON.stringify(this.at('tls.pem'))}\nkey = ${JSON.stringify(this.at('tls.key'))}\n`,
    );
    const broker = await this.#serve<{ address: string }>('broker', 'serve', '--data', this.at('broker'));
    this.parameters = [
      ...[
        'vouchsafe.disk=/dev/vda',
        `vouchsafe.binding=${binding}`,
        'vouchsafe.key=kbs:///default/disk/root',
      ],
      ...[`vouchsafe.broker=https://10.0.2.2:${new URL(broker.address).port}`],
      ...[`vouchsafe.fingerprint=${fingerprint}`, 'vouchsafe.device=socket:/dev/virtio-ports/vouchsafe'],
    ].join(' ');
    const admin = this.administration;
    await this.#succeed(
      'broker',
      'secret',
      'put',
      'default/disk/root',
      ...admin,
      '--from',
      this.at('disk.key'),
    );
  }

  /** Has the broker release the key to this machine; gives its measurement, in hexadecimal. */
  async admit(initrd: string, commandLine: string): Promise<string> {
    const { digest } = await calculateSnpLaunchDigest({
      firmware: buildGuestFirmware(),
      kernel: new Uint8Array(readFileSync(this.kernel)),
      initrd: new Uint8Array(readFileSync(initrd)),
      append: commandLine,
      vcpus: 1,
      vcpuSignature: vcpuSignatureOf('EPYC-Milan'),
      vmmType: 'QEMU',
      guestFeatures: 1n,
      vmsaFpu: 'set',
    });
    const admin = this.administration;
    await this.#succeed('broker', 'reference', 'publish', ...admin, '--measurement', toHex(digest));
    await this.#succeed('broker', 'policy', 'set', 'default', ...admin, '--reference', 'owner/images');
    return toHex(digest);
  }

  /** Boots a machine; `more` is what QEMU's shall have otherwise. */
  async boot(
    name: string,
    initrd: string,
    commandLine: string,
    more: Partial<VirtualMachineOptions> = {},
  ): Promise<BootedGuest> {
    const attestationSocket = this.at(`${name}.socket`);
    const { measurement } = await this.#serve<{ measurement: string }>(
      ...['guest', 'device', 'serve', '--software', this.at('machine'), '--socket', attestationSocket],
      ...['--kernel', this.kernel, '--initrd', initrd, '--append', commandLine],
    );
    const disk = this.at('disk.img');
    const output = bootVirtualMachine({
      ...{ kernel: this.kernel, initrd, commandLine, disk, attestationSocket },
      ...more,
    });
    // The test that waits for it is told; until then another may fail.
    output.catch(() => undefined);
    return { measurement, output };
  }

  /** Ends the servers and removes everything. */
  async end(): Promise<void> {
    for (const server of this.#started.toReversed()) await server.stop();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #serve<T>(...words: string[]): Promise<T> {
    const server = await start<T>(words);
    this.#started.push(server);
    return server.document;
  }

  async #succeed<T>(...words: string[]): Promise<T> {
    const { exit, document, stdout } = await runJson<T>(words);
    if (exit !== 0) throw new Error(`vouchsafe ${words.join(' ')}: ${stdout}`);
    return document;
  }
}
