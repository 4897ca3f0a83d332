import type { HostMachine } from '@vouchsafe/firmware/mailbox';
import { bootItems, bootOperations, bootRequest } from '@vouchsafe/protocol';
import { describe, expect, test } from 'vitest';
import { launchMachine } from '../testing/launch-fixture.js';
import { bootDevice } from './boot-device.js';
import { createGuestMemory } from './guest-memory.js';

const kernel = Uint8Array.from({ length: 5000 }, (_, index) => index);
const requestAddress = 0x1000;
const target = 0x2000;

function device(
  directBoot: Parameters<typeof bootDevice>[0]['directBoot'] = { kernel, commandLine: 'quiet' },
) {
  const { host } = launchMachine();
  const memory = createGuestMemory(host, 0x10_0000, 0x1_0000);
  const lines: string[] = [];
  let booted = 0;
  const made = bootDevice({
    machine: host,
    memory,
    directBoot,
    onLine: (line) => lines.push(line),
    onBooted: () => booted++,
  });
  const at = (guestAddress: number) => memory.requireSystemAddress(guestAddress, 1);
  async function askBytes(bytes: Uint8Array): Promise<Uint8Array> {
    await host.memory.write(at(requestAddress), bytes);
    await made.serve(requestAddress);
    return host.memory.read(at(requestAddress), bytes.length);
  }
  async function ask(request: Parameters<typeof bootRequest.build>[0]) {
    const { status, result } = bootRequest.parse(await askBytes(bootRequest.build(request)));
    return { status, result };
  }
  const shared = (length: number) => host.memory.read(at(target), length);
  return { host, memory, device: made, lines, booted: () => booted, at, ask, askBytes, shared };
}

describe('boot device, host side', () => {
  test('tells sizes, and what it has not', async () => {
    const { ask } = device();
    expect(await ask({ operation: 'SIZE', item: 'KERNEL' })).toEqual({ status: 'OK', result: 5000 });
    expect(await ask({ operation: 'SIZE', item: 'COMMAND_LINE' })).toEqual({ status: 'OK', result: 5 });
    expect(await ask({ operation: 'SIZE', item: 'INITRD' })).toEqual({ status: 'NO_SUCH_ITEM', result: 0 });
    expect(await ask({ operation: 'SIZE', item: 'MEMORY' })).toEqual({ status: 'OK', result: 0x10_0000 });
    expect(await device(undefined).ask({ operation: 'SIZE', item: 'NONE' })).toMatchObject({
      status: 'NO_SUCH_ITEM',
    });
  });

  test('copies the piece that was asked for, and nothing beside it', async () => {
    const { ask, shared, host, at } = device();
    await host.memory.write(at(target), new Uint8Array(200).fill(0xee));
    const answer = await ask({
      operation: 'READ',
      item: 'KERNEL',
      offset: 4990,
      length: 10,
      address: BigInt(target),
    });
    expect(answer).toEqual({ status: 'OK', result: 10 });
    expect(await shared(12)).toEqual(Uint8Array.of(...kernel.slice(4990), 0xee, 0xee));
  });

  test.each<[string, Partial<Parameters<typeof bootRequest.build>[0]>, string]>([
    ['beyond the item', { offset: 4990, length: 11 }, 'OUT_OF_RANGE'],
    ['from beyond the item', { offset: 0xffff_ffff, length: 1 }, 'OUT_OF_RANGE'],
    ['more than one request may', { length: 0x10_0001 }, 'OUT_OF_RANGE'],
    ['to the end of memory and further', { length: 16, address: 0x10_0000n - 8n }, 'BAD_REQUEST'],
    ['to no memory', { length: 16, address: 0x7000_0000_0000_0000n }, 'BAD_REQUEST'],
    ['of an item that is not there', { item: 'INITRD', length: 1 }, 'NO_SUCH_ITEM'],
  ])('reading %s is refused', async (_what, request, status) => {
    const { ask } = device();
    const answer = await ask({ operation: 'READ', item: 'KERNEL', address: BigInt(target), ...request });
    expect(answer).toEqual({ status, result: 0 });
  });

  test('prints a line, in which nothing steers a terminal', async () => {
    const { ask, lines, host, at } = device();
    const text = new TextEncoder().encode('up \u001b[2J\u0007 ü\r\n');
    await host.memory.write(at(target), text);
    await ask({ operation: 'PRINT', length: text.length, address: BigInt(target) });
    expect(lines).toEqual(['up \\x1b[2J\\x07 ü']);
    expect(await ask({ operation: 'PRINT', length: 4097, address: BigInt(target) })).toMatchObject({
      status: 'OUT_OF_RANGE',
    });
    expect(await ask({ operation: 'PRINT', length: 1, address: 0xf000_0000n })).toMatchObject({
      status: 'BAD_REQUEST',
    });
  });

  test('hears that the guest has booted', async () => {
    const { ask, booted } = device();
    expect(await ask({ operation: 'DONE' })).toEqual({ status: 'OK', result: 0 });
    expect(booted()).toBe(1);
  });

  test.each([
    ['an operation that there is not', Math.max(...Object.values(bootOperations)) + 1, 0],
    ['an item that there is not', bootOperations.SIZE, Math.max(...Object.values(bootItems)) + 1],
  ])('%s is marked as a bad request, and left as it was', async (_what, operation, item) => {
    const { askBytes } = device();
    const bytes = bootRequest.build({ operation: 'SIZE', length: 77, address: 0x1234n });
    const words = new DataView(bytes.buffer);
    words.setUint32(bootRequest.offsetOf('operation'), operation, true);
    words.setUint32(bootRequest.offsetOf('item'), item, true);
    const answer = await askBytes(bytes);
    expect(answer.slice(0, 24)).toEqual(bytes.slice(0, 24));
    const readable = answer.slice();
    readable.set(bytes.slice(0, 4).fill(0).with(0, bootOperations.SIZE));
    readable.set(new Uint8Array(4), bootRequest.offsetOf('item'));
    expect(bootRequest.parse(readable).status).toBe('BAD_REQUEST');
  });

  test('a request that lies nowhere is passed over', async () => {
    const { device: made, host } = device();
    const before = await host.memory.read(0x1000, 0x1000);
    await made.serve(0x7fff_0000);
    await made.serve(0x10_0000 - 8);
    expect(await host.memory.read(0x1000, 0x1000)).toEqual(before);
  });
});

test('guest memory: what a guest has not, has no place with the host', () => {
  const { host }: { host: HostMachine } = launchMachine();
  const memory = createGuestMemory(host, 0x10_0000, 0x1_0000);
  expect(memory.systemAddress(0xffff_0000, 0x1_0000)).toBeDefined();
  for (const [address, length] of [
    [0xffff_0000, 0x1_0001],
    [0xfffe_ffff, 1],
    [-1, 1],
    [0x10_0000, 1],
    [0, 0x10_0001],
  ] as const) {
    expect(memory.systemAddress(address, length)).toBeUndefined();
  }
  memory.free();
  expect(() => createGuestMemory(host, 15 * 1024 * 1024, 0x10_0000)).toThrow(/no \d+ bytes free/);
  createGuestMemory(host, 14 * 1024 * 1024, 0x1000).free();
});
