import { HostFault, type HostMachine } from '@vouchsafe/firmware/mailbox';
import {
  guestMessageSize,
  type SnpGuestRequestResult,
  snpGuestRequestBuffer,
  snpGuestRequestErrors,
  statusCodes,
} from '@vouchsafe/sev';
import type { GuestMemory } from '../../launch/guest-memory.js';
import { FirmwareCommandError } from '../../platform/firmware-error.js';
import { withMailbox } from '../../platform/mailbox.js';
import { withResultPage } from '../initialise.js';
import { smallPage } from '../pages.js';

/** What a guest asks for with SNP guest request: where its message is, and where the answer goes. Guest addresses. */
export interface GuestRequest {
  readonly requestAddress: number;
  readonly responseAddress: number;
  /** Of an extended request. */
  readonly certificates?: { readonly address: number; readonly pages: number };
}

export interface GuestRequestAnswer extends SnpGuestRequestResult {
  /** How many pages the certificate table needs, where too few were given. */
  readonly neededPages?: number;
}

export interface GuestRequestRelay {
  serve(request: GuestRequest): Promise<GuestRequestAnswer>;
}

export interface GuestRequestRelayOptions {
  readonly machine: HostMachine;
  readonly memory: GuestMemory;
  readonly gctxAddress: bigint;
  readonly certificateTable?: Uint8Array;
}

/**
 * Carries messages between a guest and the secure processor (SNP_GUEST_REQUEST). The host copies pages that it cannot
 * read: the request as it finds it, the response out of a page of the firmware's own. Messages go one at a time, because
 * that is how the firmware counts them.
 */
export function guestRequestRelay(options: GuestRequestRelayOptions): GuestRequestRelay {
  const { machine, memory, gctxAddress, certificateTable = new Uint8Array() } = options;
  let underWay: Promise<unknown> = Promise.resolve();

  /** Where a page that the guest named lies; nothing for one that it does not have, or did not align. */
  const pageAt = (guestAddress: number) =>
    guestAddress % smallPage === 0 ? memory.systemAddress(guestAddress, smallPage) : undefined;

  async function exchange(request: number, response: number): Promise<GuestRequestAnswer> {
    const message = await machine.memory.read(request, guestMessageSize);
    const answer = await withResultPage(machine, (page) =>
      withMailbox(machine, async ({ place, run }) => {
        const requestAddress = (await place(message)).address;
        const buffer = { gctxAddress, requestAddress, responseAddress: page.address };
        await run('SNP_GUEST_REQUEST', snpGuestRequestBuffer.build(buffer));
        return page.read(guestMessageSize);
      }),
    );
    await machine.memory.write(response, answer);
    return { firmwareError: statusCodes.SUCCESS, vmmError: 0 };
  }

  async function serve(request: GuestRequest): Promise<GuestRequestAnswer> {
    const [from, to] = [pageAt(request.requestAddress), pageAt(request.responseAddress)];
    if (from === undefined || to === undefined || from === to) return generic;
    const { certificates } = request;
    if (certificates !== undefined) {
      const neededPages = Math.ceil(certificateTable.length / smallPage);
      if (neededPages > certificates.pages) {
        return { firmwareError: 0, vmmError: snpGuestRequestErrors.CERTIFICATE_BUFFER, neededPages };
      }
      if (certificates.pages > 0 && !(await writeTable(certificates.address))) return generic;
    }
    try {
      return await exchange(from, to);
    } catch (error) {
      // What the firmware says is between it and the guest.
      if (error instanceof FirmwareCommandError) return { firmwareError: error.status, vmmError: 0 };
      throw error;
    }
  }

  /** A table of no entries is a page that begins with zeros. */
  async function writeTable(guestAddress: number): Promise<boolean> {
    const table = certificateTable.length === 0 ? new Uint8Array(smallPage) : certificateTable;
    const address = memory.systemAddress(guestAddress, table.length);
    if (address === undefined || guestAddress % smallPage !== 0) return false;
    await machine.memory.write(address, table);
    return true;
  }

  return {
    serve(request) {
      const own = underWay.then(() => serve(request));
      underWay = own.catch(() => undefined);
      return own.catch((error: unknown) => {
        if (error instanceof HostFault) return generic;
        throw error;
      });
    },
  };
}

const generic: GuestRequestAnswer = { firmwareError: 0, vmmError: snpGuestRequestErrors.GENERIC };
