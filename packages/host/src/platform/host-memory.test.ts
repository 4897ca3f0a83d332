import type { HostMachine } from '@vouchsafe/firmware/mailbox';
import { UnavailableError } from '@vouchsafe/sev';
import { expect, test } from 'vitest';
import { softwareHost } from '../testing/software-host.js';
import { allocateHostMemory, trustedMemoryAddress } from './host-memory.js';
import { initialiseWhenNeeded, withMailbox } from './mailbox.js';

test('pieces are aligned, never overlap, and spare page 0 and the trusted memory region', async () => {
  const { machine } = await softwareHost();
  const pieces = [1, 4096, 4097, 100_000].map((length) => allocateHostMemory(machine, length));
  let end = 4096;
  for (const { address, length } of pieces) {
    expect(address % 4096).toBe(0);
    expect(address).toBeGreaterThanOrEqual(end);
    end = address + length;
  }
  const rest = trustedMemoryAddress(machine) - end;
  expect(() => allocateHostMemory(machine, rest + 1)).toThrow(UnavailableError);
  expect(allocateHostMemory(machine, rest).address).toBe(end);
  expect(trustedMemoryAddress(machine) % 0x10_0000).toBe(0);
});

test('what was freed is given again, once', async () => {
  const { machine } = await softwareHost();
  const [first, second] = [allocateHostMemory(machine, 8192), allocateHostMemory(machine, 8192)];
  first.free();
  first.free();
  expect(allocateHostMemory(machine, 4096).address).toBe(first.address);
  expect(allocateHostMemory(machine, 8192).address).toBe(second.address + second.length);
  expect(allocateHostMemory(machine, 4096).address).toBe(first.address + 4096);
});

test('machines do not share their lists', async () => {
  const [one, two] = [await softwareHost(), await softwareHost()];
  expect(allocateHostMemory(one.machine, 1).address).toBe(allocateHostMemory(two.machine, 1).address);
});

test('INIT closes the region to the host, and what a command was given is wiped behind it', async () => {
  const { machine } = await softwareHost();
  let address = 0;
  await withMailbox(machine, async (mailbox) => {
    await initialiseWhenNeeded(machine, mailbox);
    const placed = await mailbox.place(Uint8Array.of(1, 2, 3));
    address = Number(placed.address);
    expect(await placed.read()).toEqual(Uint8Array.of(1, 2, 3));
  });
  expect(await machine.memory.read(address, 3)).toEqual(new Uint8Array(3));
  await expect(machine.memory.read(trustedMemoryAddress(machine), 1)).rejects.toThrow(
    /trusted memory region/,
  );
});

test('what a piece of work placed is given back, also where wiping it fails, and its own error is told', async () => {
  const { machine } = await softwareHost();
  const before = allocateHostMemory(machine, 4096);
  before.free();
  let broken = false;
  const memory: HostMachine['memory'] = {
    size: machine.memory.size,
    read: (address, length) => machine.memory.read(address, length),
    async write(address, bytes) {
      if (broken) throw new UnavailableError('machine', 'it went away');
      await machine.memory.write(address, bytes);
    },
  };
  const leaving = { ...machine, memory };
  const work = withMailbox(leaving, async ({ place }) => {
    await place(new Uint8Array(4096));
    await place(new Uint8Array(4096));
    broken = true;
    throw new UnavailableError('work', 'its own error');
  });
  await expect(work).rejects.toThrow('its own error');
  expect(allocateHostMemory(leaving, 4096).address).toBe(before.address);
  expect(allocateHostMemory(leaving, 4096).address).toBe(before.address + 4096);
  await expect(withMailbox(leaving, async () => 'done')).resolves.toBe('done');
});
