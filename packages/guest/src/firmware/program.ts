import { GuestFault, type GuestProgram, type GuestView } from '@vouchsafe/firmware/guest-view';
import { equalBytes, parseFirmwareFooter, VouchsafeError } from '@vouchsafe/sev';
import type { AttestationDevice } from '../attestation/attestation-device.js';
import { openMemorySecretStore } from '../secrets/memory-store.js';
import type { SecretStore } from '../secrets/secret-store.js';
import { isMemoryTaken } from '../snp/guest-pages.js';
import { openBootDevice } from './boot-device.js';
import { buildGuestFirmware } from './image.js';
import { fetchMeasuredFiles, type MeasuredFiles } from './measured-boot.js';
import { bootSnp, type SnpServices } from './snp-boot.js';

/** What an init program finds when the firmware hands over. */
export interface BootedGuest {
  /** Kernel, initrd and command line as measured; absent when the machine boots none directly. */
  readonly files?: MeasuredFiles;
  /**
   * The secrets in the guest's memory.
   * @throws SecretTableAbsentError when nothing was injected
   */
  openSecrets(): Promise<SecretStore>;
  /** Prints a line on the console. The host reads it. */
  print(line: string): Promise<void>;
  /** Under SEV-SNP: reports and keys, at privilege level 0. */
  readonly attestation?: AttestationDevice;
  /** Under SEV-SNP: what besides. */
  readonly snp?: SnpServices;
}

/** Stands for the kernel and all that it starts. When it resolves, the guest tells the host that it is up, and halts. */
export type GuestInit = (guest: BootedGuest) => Promise<void>;

export interface GuestFirmwareOptions {
  readonly init: GuestInit;
  /** The image that this program is the code of; the project's own. */
  readonly image?: Uint8Array;
  /** Sees every console line where the guest runs, before the host does. */
  readonly onConsole?: (line: string) => void;
  /** Sees why the guest gave up. The host only sees that it did. */
  readonly onFailure?: (error: VouchsafeError) => void;
}

/**
 * What the project's guest firmware does in the software machine, whose CPU runs programs and no machine code: it makes
 * sure that it is the image at the reset vector, boots only what was measured, hands over to `init`, and halts. Whatever
 * it cannot accept ends in a shutdown (a triple fault), as OVMF ends in a dead loop.
 */
export function guestFirmwareProgram(options: GuestFirmwareOptions): GuestProgram {
  const {
    init,
    image = buildGuestFirmware(),
    onConsole = () => undefined,
    onFailure = () => undefined,
  } = options;

  async function boot(view: GuestView): Promise<void> {
    const own = await view.readPrivate(0x1_0000_0000 - image.length, image.length);
    if (!equalBytes(own, image)) await view.shutdown();

    const footer = parseFirmwareFooter(image);
    const snp = view.snp ? await bootSnp(view, footer, image.length) : undefined;
    const device = snp?.device ?? (await openBootDevice(view));
    const print = async (line: string) => {
      onConsole(line);
      await device.print(line);
    };
    const files = await fetchMeasuredFiles(view, device, { area: footer.hashTableArea });
    await init({
      ...(files === undefined ? {} : { files }),
      openSecrets: () => openMemorySecretStore(view),
      print,
      ...(snp === undefined ? {} : { attestation: snp.attestation, snp: snp.services }),
    });
    await device.done();
  }

  return async (view) => {
    try {
      await boot(view);
    } catch (error) {
      if (!(error instanceof VouchsafeError) || isEndOfMachine(error)) throw error;
      onFailure(error);
      await view.shutdown();
    }
    for (;;) await view.halt();
  };
}

/** A vCPU that is no more has nothing to give up. Memory that was taken from the guest is what it gives up for. */
const isEndOfMachine = (error: VouchsafeError) => error instanceof GuestFault && !isMemoryTaken(error);
