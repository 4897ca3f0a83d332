import type { HostMachine } from '@vouchsafe/firmware/mailbox';
import { type BootItem, type BootStatus, bootRequest, bootRequestLimit } from '@vouchsafe/protocol';
import { MalformedError, toHex } from '@vouchsafe/sev';
import type { GuestMemory } from './guest-memory.js';
import type { LaunchConfiguration } from './launcher.js';

/** The host's side of the software machine's only device. */
export interface BootDevice {
  /** Does what the request at this guest address says, and writes the answer into it. */
  serve(guestAddress: number): Promise<void>;
}

export interface BootDeviceOptions {
  readonly machine: HostMachine;
  readonly memory: GuestMemory;
  readonly directBoot: LaunchConfiguration['directBoot'];
  onLine(line: string): void;
  onBooted(): void;
}

type Request = ReturnType<typeof bootRequest.parse>;
type Answer = readonly [status: BootStatus, result?: number];

export function bootDevice({ machine, memory, directBoot, onLine, onBooted }: BootDeviceOptions): BootDevice {
  const items: Partial<Record<BootItem, Uint8Array>> = {
    ...(directBoot === undefined ? {} : { KERNEL: directBoot.kernel }),
    ...(directBoot?.initrd === undefined ? {} : { INITRD: directBoot.initrd }),
    ...(directBoot?.commandLine === undefined
      ? {}
      : { COMMAND_LINE: new TextEncoder().encode(directBoot.commandLine) }),
  };

  async function carryOut(request: Request): Promise<Answer> {
    switch (request.operation) {
      case 'SIZE':
        return sizeOf(request.item);
      case 'READ':
        return read(request);
      case 'PRINT':
        return print(request);
      case 'DONE':
        onBooted();
        return ['OK'];
    }
  }

  function sizeOf(item: BootItem): Answer {
    if (item === 'MEMORY') return ['OK', memory.size];
    const bytes = items[item];
    return bytes === undefined ? ['NO_SUCH_ITEM'] : ['OK', bytes.length];
  }

  async function read({ item, offset, length, address }: Request): Promise<Answer> {
    const bytes = items[item];
    if (bytes === undefined) return ['NO_SUCH_ITEM'];
    if (length > bootRequestLimit || offset + length > bytes.length) return ['OUT_OF_RANGE'];
    const target = memory.systemAddress(Number(address), length);
    if (target === undefined) return ['BAD_REQUEST'];
    await machine.memory.write(target, bytes.subarray(offset, offset + length));
    return ['OK', length];
  }

  async function print({ length, address }: Request): Promise<Answer> {
    if (length > lineLimit) return ['OUT_OF_RANGE'];
    const source = memory.systemAddress(Number(address), length);
    if (source === undefined) return ['BAD_REQUEST'];
    onLine(printable(await machine.memory.read(source, length)));
    return ['OK', length];
  }

  async function answer(bytes: Uint8Array): Promise<Uint8Array> {
    try {
      const request = bootRequest.parse(bytes);
      const [status, result = 0] = await carryOut(request);
      return bootRequest.build({ ...request, status, result });
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      return badRequest(bytes);
    }
  }

  return {
    async serve(guestAddress) {
      const at = memory.systemAddress(guestAddress, bootRequest.size);
      if (at === undefined) return;
      const bytes = await machine.memory.read(at, bootRequest.size);
      await machine.memory.write(at, await answer(bytes));
    },
  };
}

const lineLimit = 4096;

/** Nothing that a guest prints may steer the terminal of its host. */
function printable(bytes: Uint8Array): string {
  const text = new TextDecoder().decode(bytes).replace(/\r?\n$/, '');
  return text.replaceAll(/\p{Cc}/gu, (character) => `\\x${toHex(new TextEncoder().encode(character))}`);
}

/** Keeps what the guest wrote, because it does not parse, and marks it as refused. */
function badRequest(bytes: Uint8Array): Uint8Array {
  const refused = bootRequest.build({ operation: 'DONE', status: 'BAD_REQUEST' });
  const status = bootRequest.offsetOf('status');
  const marked = bytes.slice();
  marked.set(refused.subarray(status), status);
  return marked;
}
