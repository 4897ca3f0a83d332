import {
  keyRequests,
  reportRequest,
  sevGuestExtendedReportRequest,
  sevGuestIoctls,
  sevGuestRequest,
  snpGuestRequestErrors,
} from '@vouchsafe/sev';
import type { GuestIoctlDevice } from '../attestation/ioctl-device.js';
import { type GuestChannel, GuestChannelError } from '../snp/guest-channel.js';

export interface ScriptedDriverOptions {
  /** Bytes that the host's certificate table needs; more than the driver takes are refused. */
  readonly tableLength?: number;
  /** What every ioctl answers instead. */
  readonly fails?: { readonly errno: string; readonly firmwareError?: number; readonly vmmError?: number };
}

/**
 * The sev-guest driver of linux (drivers/virt/coco/sev-guest/sev-guest.c) over a channel: memory at addresses, requests
 * by number, and payloads as they are.
 */
export class ScriptedDriver implements GuestIoctlDevice {
  readonly #channel: GuestChannel;
  readonly #options: ScriptedDriverOptions;
  readonly #memory = new Map<bigint, Uint8Array>();
  #next = 0x10_0000n;
  /** Numbers of the requests. */
  readonly requests: number[] = [];
  isClosed = false;
  /** Memory as it was when it was given back. */
  readonly freed: Uint8Array[] = [];

  constructor(channel: GuestChannel, options: ScriptedDriverOptions = {}) {
    this.#channel = channel;
    this.#options = options;
  }

  get placed(): number {
    return this.#memory.size;
  }

  place(bytes: Uint8Array) {
    const address = this.#next;
    this.#next += 0x1_0000n;
    const memory = bytes.slice();
    this.#memory.set(address, memory);
    return {
      address,
      bytes: memory,
      free: () => {
        memory.fill(0);
        this.freed.push(memory);
        if (!this.#memory.delete(address)) throw new Error('freed twice');
      },
    };
  }

  async ioctl(request: number, argument: bigint): Promise<0 | string> {
    this.requests.push(request);
    const block = this.#at(argument);
    const { messageVersion, requestAddress, responseAddress } = sevGuestRequest.parse(block);
    const answer = (errno: 0 | string, firmwareError = 0, vmmError = 0) => {
      block.set(
        sevGuestRequest.build({ messageVersion, requestAddress, responseAddress, firmwareError, vmmError }),
      );
      return errno;
    };
    if (messageVersion === 0) return answer('EINVAL', 0xff);
    const { fails } = this.#options;
    if (fails !== undefined) return answer(fails.errno, fails.firmwareError ?? 0xff, fails.vmmError);
    try {
      return await this.#serve(request, this.#at(requestAddress), this.#at(responseAddress), answer);
    } catch (error) {
      if (error instanceof GuestChannelError)
        return answer(error.failure === 'key-wiped' ? 'ENOTTY' : 'EIO', 0xff);
      throw error;
    }
  }

  async #serve(
    request: number,
    input: Uint8Array,
    output: Uint8Array,
    answer: (errno: 0 | string, firmwareError?: number, vmmError?: number) => 0 | string,
  ): Promise<0 | string> {
    switch (request) {
      case sevGuestIoctls.SNP_GET_REPORT: {
        reportRequest.parse(input);
        output.set(await this.#channel.request({ type: 'REPORT_REQ', payload: input.slice() }));
        return answer(0);
      }
      case sevGuestIoctls.SNP_GET_EXT_REPORT: {
        const { certificatesAddress, certificatesLength } = sevGuestExtendedReportRequest.parse(input);
        const payload = input.slice(0, reportRequest.size);
        const { tableLength = 0 } = this.#options;
        if (tableLength > certificatesLength) {
          await this.#channel.request({ type: 'REPORT_REQ', payload });
          return answer('EIO', 0, snpGuestRequestErrors.CERTIFICATE_BUFFER);
        }
        const made = await this.#channel.requestWithCertificates({ type: 'REPORT_REQ', payload });
        output.set(made.payload);
        this.#at(certificatesAddress).set(made.certificates ?? []);
        return answer(0);
      }
      case sevGuestIoctls.SNP_GET_DERIVED_KEY: {
        keyRequests.v1.parse(input);
        output.set(await this.#channel.request({ type: 'KEY_REQ', payload: input.slice() }));
        return answer(0);
      }
      default:
        return answer('ENOTTY');
    }
  }

  async close(): Promise<void> {
    this.isClosed = true;
  }

  #at(address: bigint): Uint8Array {
    const memory = this.#memory.get(address);
    if (memory === undefined) throw new Error(`no memory at 0x${address.toString(16)}`);
    return memory;
  }
}
