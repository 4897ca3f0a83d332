import type { BootItem } from '@vouchsafe/protocol';
import { bootRequest } from '@vouchsafe/protocol';
import {
  buildHashesTable,
  buildSecretTable,
  calculateSnpLaunchDigest,
  equalBytes,
  isZero,
  openSecret,
  parseFirmwareFooter,
  type Secret,
  toHex,
  type VouchsafeError,
  wellKnownSecretGuids,
} from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import { WrongDiskKeyError } from '../disk/luks.js';
import { FakeMachine, type FakeMachineOptions, type Items, runToEnd } from '../testing/fake-guest-view.js';
import { buildGuestFirmware } from './image.js';
import { guestFirmwareBase, hashTableArea, secretArea } from './layout.js';
import { type GuestInit, guestFirmwareProgram } from './program.js';
import { unlockDiskInit } from './unlock-disk.js';

const text = (value: string) => new TextEncoder().encode(value);
const key = text('a disk key of the owner');

const kernel = Uint8Array.from({ length: 300_000 }, (_, i) => (i * 31) & 0xff);
const initrd = text('an initrd');
const commandLine = 'console=ttyS0 root=/dev/mapper/root';
const items: Items = { KERNEL: kernel, INITRD: initrd, COMMAND_LINE: text(commandLine) };

/** A machine as a launch leaves it: hashes measured into private memory, secrets injected. */
async function launched(
  options: FakeMachineOptions = {},
  { hashes = true, secrets = true } = {},
): Promise<FakeMachine> {
  const machine = new FakeMachine({ items, ...options });
  if (hashes) {
    const table = await buildHashesTable({ kernel, initrd, commandLine });
    machine.memory(hashTableArea.base, table.length).set(table);
  }
  if (secrets) {
    const table = openSecret(buildSecretTable([{ guid: wellKnownSecretGuids.luksKey, data: key }]));
    machine.memory(secretArea.base, table.length).set(table);
  }
  return machine;
}

async function run(machine: FakeMachine, init?: GuestInit) {
  const failures: VouchsafeError[] = [];
  const got: string[] = [];
  const unlocking = unlockDiskInit({
    unlock: async (secret) => {
      got.push(new TextDecoder().decode(openSecret(secret)));
      return 'volume unlocked';
    },
  });
  const lines: string[] = [];
  const program = guestFirmwareProgram({
    init: init ?? unlocking,
    onConsole: (line) => lines.push(line),
    onFailure: (error) => failures.push(error),
  });
  const end = await runToEnd(program, machine);
  return { end, failures, got, lines };
}

describe('the guest firmware’s image', () => {
  it('is the same at every call, 64 KiB, and halts at its reset vector', () => {
    const image = buildGuestFirmware();
    expect(equalBytes(image, buildGuestFirmware())).toBe(true);
    expect(image).toHaveLength(0x1_0000);
    expect(toHex(image.subarray(-16, -12))).toBe('faf4ebfd');
    expect(new TextDecoder().decode(image.subarray(0, 26))).toBe('Vouchsafe guest firmware 1');
  });

  it('has the footer of a measured-boot firmware', () => {
    const image = buildGuestFirmware();
    const footer = parseFirmwareFooter(image);
    expect(footer).toMatchObject({
      secretArea: { base: 0x8000, size: 0x4000 },
      hashTableArea: { base: 0xc000, size: 0x400 },
    });
    const entry = footer.resetAddress! - guestFirmwareBase;
    expect(toHex(image.subarray(entry, entry + 4))).toBe('faf4ebfd');
    expect(footer.entries).toHaveLength(4);
  });

  it('has SEV metadata, by which a launch prepares secrets, CPUID and kernel hashes', async () => {
    const image = buildGuestFirmware();
    expect(parseFirmwareFooter(image).sevMetadata?.sections).toEqual([
      { gpa: 0x0000, size: 0x5000, type: 1 },
      { gpa: 0x5000, size: 0x1000, type: 2 },
      { gpa: 0x6000, size: 0x1000, type: 3 },
      { gpa: 0x8000, size: 0x4000, type: 1 },
      { gpa: 0xc000, size: 0x1000, type: 0x10 },
    ]);
    const launch = {
      firmware: image,
      kernel,
      initrd,
      append: commandLine,
      vcpus: 2,
      vcpuSignature: 0xa00f11,
    };
    const { steps } = await calculateSnpLaunchDigest(launch);
    expect(steps.map(({ type, gpa, pages }) => [type, gpa, pages])).toEqual([
      ['NORMAL', guestFirmwareBase, 16],
      ['ZERO', 0, 5],
      ['SECRETS', 0x5000, 1],
      ['CPUID', 0x6000, 1],
      ['ZERO', 0x8000, 4],
      ['NORMAL', 0xc000, 1],
      ['VMSA', 0xffff_ffff_f000, 1],
      ['VMSA', 0xffff_ffff_f000, 1],
    ]);
  });
});

describe.each([
  ['SEV', false],
  ['SEV-ES', true],
] as const)('the guest firmware under %s', (_, encryptedState) => {
  it('boots what was measured, takes the key out of memory, unlocks, and halts', async () => {
    const machine = await launched({ encryptedState });
    const { end, got, lines, failures } = await run(machine);
    expect({ end, got, failures }).toEqual({ end: 'halt', got: ['a disk key of the owner'], failures: [] });
    expect(machine.console.at(-1)).toBe('volume unlocked');
    expect(lines).toEqual(machine.console);
    expect(machine.console.join('\n')).toContain(commandLine);
    expect(machine.booted).toBe(true);
    expect(isZero(machine.memory(secretArea.base + 40, key.length))).toBe(true);
    expect(new TextDecoder().decode(machine.shared)).not.toContain('a disk key');
  });

  it('fetches files larger than what it shares, piece by piece', async () => {
    const machine = await launched({ encryptedState, memorySize: 0x1_3000 });
    const { end } = await run(machine, async ({ files }) =>
      expect(equalBytes(files!.kernel, kernel)).toBe(true),
    );
    expect(end).toBe('halt');
  });

  it.each([
    ['kernel', { ...items, KERNEL: kernel.with(299_999, 0) }],
    ['kernel', { ...items, KERNEL: kernel.slice(1) }],
    ['initrd', { ...items, INITRD: text('another') }],
    ['initrd', { KERNEL: kernel, COMMAND_LINE: text(commandLine) }],
    ['command line', { ...items, COMMAND_LINE: text(`${commandLine} init=/bin/sh`) }],
    ['command line', { ...items, COMMAND_LINE: text(`${commandLine}\0`) }],
    ['kernel', { INITRD: initrd, COMMAND_LINE: text(commandLine) }],
  ])('refuses another %s than was measured', async (item, changed) => {
    const machine = await launched({ encryptedState, items: changed });
    const { end, got, failures } = await run(machine);
    expect({ end, got }).toEqual({ end: 'shutdown', got: [] });
    expect(failures).toMatchObject([{ code: 'boot-refused', item }]);
    expect(machine.booted).toBe(false);
  });
});

describe('the guest firmware', () => {
  it('boots no kernel without measured hashes', async () => {
    const { end, failures } = await run(await launched({}, { hashes: false }));
    expect(end).toBe('shutdown');
    expect(failures).toMatchObject([{ code: 'boot-refused', item: 'hashes table' }]);
  });

  it('goes on without a kernel where none was measured', async () => {
    const { end, got } = await run(await launched({ items: {} }, { hashes: false }));
    expect({ end, got }).toEqual({ end: 'halt', got: ['a disk key of the owner'] });
  });

  it('compares the copy that it boots, not what the host shows at another time', async () => {
    const machine = await launched({
      tamper: ({ operation, item }, { shared }) => {
        if (operation === 'READ' && item === 'INITRD') shared.fill(0x66, 0x1_0000);
      },
    });
    const { end, failures } = await run(machine);
    expect(end).toBe('shutdown');
    expect(failures).toMatchObject([{ item: 'initrd' }]);
  });

  it('is not run by another image', async () => {
    for (const at of [0, 0x1000, 0xfff0, 0xffff]) {
      const machine = await launched({ firmware: buildGuestFirmware().with(at, 0x90) });
      expect(await run(machine)).toMatchObject({ end: 'shutdown', got: [] });
    }
  });

  it('keeps the volume locked without a key, and with a wrong one', async () => {
    const without = await launched({}, { secrets: false });
    expect((await run(without)).end).toBe('halt');
    expect(without.console.at(-1)).toContain('no disk key');

    const wrong = await launched();
    const keys: Secret[] = [];
    const init = unlockDiskInit({
      onKey: (secret) => void keys.push(secret),
      unlock: () => Promise.reject(new WrongDiskKeyError('volume')),
    });
    expect((await run(wrong, init)).end).toBe('halt');
    expect(wrong.console.at(-1)).toContain('does not unlock');
    expect(keys.map(({ isZeroed }) => isZeroed)).toEqual([true]);
  });

  const answers: [
    string,
    (operation: string, item: BootItem) => Partial<{ status: string; result: number }> | undefined,
  ][] = [
    ['a status of no meaning', () => ({ status: 'PENDING' })],
    ['sizes of no meaning', (operation) => (operation === 'SIZE' ? { status: 'PENDING' } : undefined)],
    [
      'a size of no meaning',
      (operation, item) =>
        operation === 'SIZE' && item === 'INITRD' ? { status: 'BAD_REQUEST' } : undefined,
    ],
    ['no memory', (_, item) => (item === 'MEMORY' ? { result: 0x1_0000 } : undefined)],
    [
      'a kernel of 4 GiB',
      (operation, item) => (operation === 'SIZE' && item === 'KERNEL' ? { result: 0xffff_ffff } : undefined),
    ],
    ['fewer bytes than asked', (operation) => (operation === 'READ' ? { result: 1 } : undefined)],
    ['more bytes than asked', (operation) => (operation === 'READ' ? { result: 0xffff_ffff } : undefined)],
    ['a refusal to read', (operation) => (operation === 'READ' ? { status: 'OUT_OF_RANGE' } : undefined)],
  ];
  it.each(answers)('shuts down when the device answers with %s', async (_, lie) => {
    const machine = await launched({
      tamper: ({ operation, item }, { shared, requestAddress }) => {
        const request = bootRequest.parseAt(shared, requestAddress);
        shared.set(bootRequest.build({ ...request, ...(lie(operation, item) as object) }), requestAddress);
      },
    });
    const { end, failures } = await run(machine);
    expect(end).toBe('shutdown');
    expect(failures).toMatchObject([{ code: 'malformed' }]);
  });

  it('shuts down when the device answers with noise', async () => {
    const machine = await launched({
      tamper: (_, { shared, requestAddress }) => shared.fill(0xee, requestAddress, requestAddress + 32),
    });
    expect((await run(machine)).failures).toMatchObject([{ code: 'malformed' }]);
  });
});
