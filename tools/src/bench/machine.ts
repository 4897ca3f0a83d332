import { createSoftwareMachine, type HostMachine, manufactureChip } from '@vouchsafe/firmware';
import {
  activateBuffer,
  describeStatus,
  type FirmwareVersion,
  initBuffer,
  launchStartBuffer,
  parseSevCertificate,
  pdhCertExportBuffer,
  platformStatus,
  type SevCertificate,
  type SevCommandName,
  type Structure,
  sevCertificate,
  sevCommands,
  systemRandom,
} from '@vouchsafe/sev';

/** Where things lie in the machine's memory; the image has the rest to itself. */
export const layout = {
  command: 0x1000,
  certificate: 0x2000,
  session: 0x3000,
  chain: 0x4000,
  image: 0x10_0000,
} as const;

/** A software machine with its processor initialised, and a way to ring its mailbox. */
export class BenchMachine {
  readonly host: HostMachine;
  readonly close: () => Promise<void>;
  #asid = 0;

  private constructor(memory: number) {
    const chip = manufactureChip({ random: systemRandom });
    const machine = createSoftwareMachine({ chip, random: systemRandom, memory });
    this.host = machine.host;
    this.close = () => machine.close();
  }

  static async start(memory: number): Promise<BenchMachine> {
    const machine = new BenchMachine(memory);
    await machine.command('INIT', initBuffer, { flags: { encryptedState: false } });
    await machine.flush();
    return machine;
  }

  /** Runs a command and gives its buffer back. Anything but SUCCESS is an error. */
  async command<T extends object, B extends object>(
    name: SevCommandName,
    buffer: Structure<T, B>,
    values: B,
  ): Promise<T> {
    await this.host.memory.write(layout.command, buffer.build(values));
    await this.#ring(name);
    return buffer.parse(await this.host.memory.read(layout.command, buffer.size));
  }

  async #ring(name: SevCommandName): Promise<void> {
    const status = await this.host.submit(sevCommands[name], layout.command);
    if (status !== 0) throw new Error(`${name}: ${describeStatus(status).text}`);
  }

  /** The version that the processor binds into its measurements. */
  async version(): Promise<FirmwareVersion> {
    await this.#ring('PLATFORM_STATUS');
    const { apiMajor, apiMinor, config } = platformStatus.parse(
      await this.host.memory.read(layout.command, platformStatus.size),
    );
    return { apiMajor, apiMinor, buildId: config.build };
  }

  async flush(): Promise<void> {
    await this.host.writeBackAndInvalidate();
    await this.#ring('DF_FLUSH');
  }

  async pdh(): Promise<SevCertificate> {
    await this.command('PDH_CERT_EXPORT', pdhCertExportBuffer, {
      pdhAddress: BigInt(layout.certificate),
      pdhLength: sevCertificate.size,
      chainAddress: BigInt(layout.chain),
      chainLength: 3 * sevCertificate.size,
    });
    return parseSevCertificate(await this.host.memory.read(layout.certificate, sevCertificate.size));
  }

  /** LAUNCH_START and ACTIVATE; gives the guest's handle. */
  async startGuest(
    policy: number,
    channel?: { godhCertificate: Uint8Array; session: Uint8Array },
  ): Promise<number> {
    const { handle } = await this.command('LAUNCH_START', launchStartBuffer, {
      policy,
      ...(channel === undefined ? {} : await this.#place(channel)),
    });
    const { minimumSevAsid, maximumAsid } = this.host.capabilities;
    this.#asid = this.#asid < minimumSevAsid || this.#asid >= maximumAsid ? minimumSevAsid : this.#asid + 1;
    await this.command('ACTIVATE', activateBuffer, { handle, asid: this.#asid });
    return handle;
  }

  async #place({ godhCertificate, session }: { godhCertificate: Uint8Array; session: Uint8Array }) {
    await this.host.memory.write(layout.certificate, godhCertificate);
    await this.host.memory.write(layout.session, session);
    return {
      certificateAddress: BigInt(layout.certificate),
      certificateLength: godhCertificate.length,
      sessionAddress: BigInt(layout.session),
      sessionLength: session.length,
    };
  }
}
