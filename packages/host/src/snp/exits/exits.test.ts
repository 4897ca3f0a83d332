import type { GuestProgram, GuestView } from '@vouchsafe/firmware';
import { callHost, type HostCall } from '@vouchsafe/guest';
import {
  buildPageStateChange,
  ghcb,
  ghcbExitCodes,
  ghcbMsrCodes,
  ghcbMsrPageStateRequest,
  ghcbMsrRegistration,
  ghcbMsrRequest,
  type PageStateChangeEntry,
  pageStateOperations,
  parsePageStateChange,
  pvalidateStatus,
  snpGuestRequestResult,
} from '@vouchsafe/sev';
import { describe, expect, onTestFinished, test } from 'vitest';
import { deferred } from '../../deferred.js';
import type { MachineEvent, SnpLaunchConfiguration } from '../../launch/launcher.js';
import { softwareLauncher } from '../../launch/software-launcher.js';
import { snpConfiguration, snpMachine } from '../../testing/snp-fixture.js';
import { pageStateErrors } from './page-state-changes.js';

/** Guests that ask for what they should not, of a host that must neither fall over nor do it. */

const ghcbAddress = 0xd000;

/** Runs a program of its own in a guest of the project's firmware. Resolves to what it gave, or to how it ended. */
async function runProgram<T>(
  program: (view: GuestView) => Promise<T>,
  changes: Partial<SnpLaunchConfiguration> = {},
) {
  const machine = snpMachine();
  const found = deferred<T>();
  const whole: GuestProgram = async (view) => found.resolve(await program(view));
  machine.machine.insertGuest(whole);
  const guest = await softwareLauncher(machine.host).launchSnp({ ...snpConfiguration, ...changes });
  onTestFinished(() => guest.quit());
  const ended = deferred<Extract<MachineEvent, { type: 'ended' }>>();
  guest.onEvent((event) => event.type === 'ended' && ended.resolve(event));
  await guest.resume();
  return { guest, machine, result: found.promise, ended: ended.promise };
}

const resultOf = async <T>(program: (view: GuestView) => Promise<T>) => (await runProgram(program)).result;
const endOf = async (program: (view: GuestView) => Promise<unknown>) => (await runProgram(program)).ended;

/** Shares and registers the GHCB, as early boot does. */
async function withGhcb(view: GuestView) {
  await view.msrProtocol(
    ghcbMsrPageStateRequest.build({
      code: ghcbMsrCodes.PAGE_STATE_REQUEST,
      frame: ghcbAddress / 0x1000,
      operation: pageStateOperations.SHARED,
    }),
  );
  await view.msrProtocol(
    ghcbMsrRegistration.build({ code: ghcbMsrCodes.REGISTER_REQUEST, frame: ghcbAddress / 0x1000 }),
  );
  const call = (request: HostCall) => callHost(view, ghcbAddress, request);
  const change = async (...entries: PageStateChangeEntry[]) => {
    const answer = await call({
      exitCode: ghcbExitCodes.PAGE_STATE_CHANGE,
      scratch: BigInt(ghcbAddress + ghcb.offsetOf('sharedBuffer')),
      sharedBuffer: buildPageStateChange({ current: 0, entries }),
    });
    return { exitInfo2: answer.exitInfo2, current: parsePageStateChange(answer.sharedBuffer).current };
  };
  return { call, change };
}

const entry = (
  operation: PageStateChangeEntry['operation'],
  address: number,
  large = false,
): PageStateChangeEntry => ({ operation, address, large, currentPage: 0 });

describe('the GHCB MSR', () => {
  test('tells the protocol’s versions, the C-bit and the features', async () => {
    expect(
      await resultOf(async (view) => [
        await view.msrProtocol(ghcbMsrRequest.build({ code: ghcbMsrCodes.SEV_INFORMATION_REQUEST })),
        await view.msrProtocol(ghcbMsrRequest.build({ code: ghcbMsrCodes.FEATURES_REQUEST })),
      ]),
    ).toEqual([0x0002_0001_3300_0001n, 0x3081n]);
  });

  test('a GHCB outside the guest’s memory is not registered', async () => {
    const request = ghcbMsrRegistration.build({ code: ghcbMsrCodes.REGISTER_REQUEST, frame: 0x10_0000 });
    expect(await resultOf((view) => view.msrProtocol(request))).toBe(0xffff_ffff_ffff_f013n);
  });

  test.each([
    ['outside the guest’s memory', 0x10_0000, 2],
    ['to a state that there is not', 1, 9],
    ['in the firmware’s image, to be smashed', 0xffff0, 3],
  ])('a page %s changes no state', async (_name, frame, operation) => {
    const code = ghcbMsrCodes.PAGE_STATE_REQUEST;
    const request = ghcbMsrPageStateRequest.build({ code, frame, operation });
    expect(await resultOf((view) => view.msrProtocol(request))).toBe(0x1_0000_0015n);
  });

  test.each<[string, bigint, string, string]>([
    ['that the guest gives up', 0x100n, 'shutdown', 'asked to be ended'],
    ['what nobody knows', 0x7ffn, 'fault', 'asked for 0x7ff'],
    ['with reserved bits', (0xf002n << 52n) | 0x15n, 'fault', ''],
  ])('%s ends the guest', async (_name, request, reason, detail) => {
    const ended = await endOf((view) => view.msrProtocol(request));
    expect(ended).toMatchObject({ reason, detail: expect.stringContaining(detail) });
  });
});

describe('the GHCB', () => {
  test('is served where the guest registered it, and nowhere else', async () => {
    const ended = await endOf(async (view) => {
      await withGhcb(view);
      await callHost(view, 0xe000, { exitCode: ghcbExitCodes.HLT });
    });
    expect(ended).toMatchObject({ reason: 'fault', detail: expect.stringContaining('not registered') });
  });

  test.each<[string, HostCall]>([
    ['an exit that nobody knows', { exitCode: 0x8000_7777n }],
    [
      'a page state change whose list is elsewhere',
      { exitCode: ghcbExitCodes.PAGE_STATE_CHANGE, scratch: 0x1000n },
    ],
    ['a page state change without a list', { exitCode: ghcbExitCodes.PAGE_STATE_CHANGE }],
    ['an extended request without pages', { exitCode: ghcbExitCodes.EXT_GUEST_REQUEST }],
    [
      'a vCPU that the guest does not have',
      { exitCode: ghcbExitCodes.AP_CREATION, exitInfo1: (9n << 32n) | 1n, rax: 1n },
    ],
    [
      'a fifth privilege level',
      { exitCode: ghcbExitCodes.AP_CREATION, exitInfo1: (4n << 16n) | 1n, rax: 1n },
    ],
    ['a vCPU of no known kind', { exitCode: ghcbExitCodes.AP_CREATION, exitInfo1: 7n, rax: 1n }],
    [
      'a vCPU of other features',
      { exitCode: ghcbExitCodes.AP_CREATION, exitInfo1: 1n, exitInfo2: 0x1000n, rax: 0x21n },
    ],
    [
      'a vCPU with its state outside of memory',
      { exitCode: ghcbExitCodes.AP_CREATION, exitInfo1: 1n, exitInfo2: 0x4000_0000n, rax: 1n },
    ],
    [
      'a vCPU with its state inside a page',
      { exitCode: ghcbExitCodes.AP_CREATION, exitInfo1: 1n, exitInfo2: 0x1010n, rax: 1n },
    ],
  ])('%s is refused, and the guest goes on', async (_name, call) => {
    const outcome = await resultOf(async (view) => {
      const { call: send } = await withGhcb(view);
      return send(call).catch((error: { code: string }) => error.code);
    });
    expect(outcome).toBe('host-call');
  });
});

describe('page state changes', () => {
  test('are carried out in their order, up to the first that cannot be', async () => {
    const outcome = await resultOf(async (view) => {
      const { change } = await withGhcb(view);
      return [
        await change(entry('PRIVATE', 0x18_0000), entry('SHARED', 0x18_1000)),
        await change(entry('PRIVATE', 0x18_2000), entry('PRIVATE', 0x4000_0000), entry('PRIVATE', 0x18_3000)),
        await change(entry('PSMASH', 0x18_0000)),
        await change(entry('UNSMASH', 0x18_0000)),
        await view.pvalidate(0x18_0000, { size: '4K', validate: true }),
        await view.pvalidate(0x18_2000, { size: '4K', validate: true }),
      ];
    });
    expect(outcome).toEqual([
      { exitInfo2: 0n, current: 2 },
      { exitInfo2: pageStateErrors.INVALID_ENTRY, current: 1 },
      { exitInfo2: pageStateErrors.INVALID_ENTRY, current: 0 },
      { exitInfo2: 0n, current: 1 },
      { status: pvalidateStatus.SUCCESS, changed: true },
      { status: pvalidateStatus.SUCCESS, changed: true },
    ]);
  });

  test('with a list that contradicts itself change nothing', async () => {
    const outcome = await resultOf(async (view) => {
      const { call } = await withGhcb(view);
      const { exitInfo2 } = await call({
        exitCode: ghcbExitCodes.PAGE_STATE_CHANGE,
        scratch: BigInt(ghcbAddress + ghcb.offsetOf('sharedBuffer')),
        sharedBuffer: new Uint8Array(8).fill(0xff),
      });
      return exitInfo2;
    });
    expect(outcome).toBe(pageStateErrors.INVALID_HEADER);
  });

  const memory = 8 * 1024 * 1024;

  test('a large page is one where it can be, and small ones where one of it is shared', async () => {
    const { machine, guest, result } = await runProgram(
      async (view) => {
        const { change } = await withGhcb(view);
        await change(entry('PRIVATE', 0x20_0000, true), entry('PRIVATE', 0x40_1000));
        const whole = await view.pvalidate(0x20_0000, { size: '2M', validate: true });
        await change(entry('PRIVATE', 0x40_0000, true));
        const broken = await view.pvalidate(0x40_0000, { size: '2M', validate: true });
        await view.writePrivate(0x20_0000, new Uint8Array(0x20_0000).fill(7));
        // 4 KiB of a page of 2 MiB: the host has to break it first, and does.
        const rescinded = await view.pvalidate(0x3f_0000, { size: '4K', validate: false });
        const { exitInfo2 } = await change(
          entry('SHARED', 0x3f_0000),
          entry('PRIVATE', 0x60_0000, true),
          entry('PSMASH', 0x60_0000),
        );
        await view.writeShared(0x3f_0000, new Uint8Array(16).fill(9));
        const kept = await view.readPrivate(0x3e_ffff, 1);
        return { whole, broken, rescinded, exitInfo2, kept: kept[0] };
      },
      { memory },
    );
    expect(await result).toEqual({
      whole: { status: pvalidateStatus.SUCCESS, changed: true },
      broken: { status: pvalidateStatus.FAIL_SIZEMISMATCH, changed: false },
      rescinded: { status: pvalidateStatus.SUCCESS, changed: true },
      exitInfo2: 0n,
      kept: 7,
    });
    const entryAt = (address: number) =>
      machine.host.reverseMap.read(guest.memory.requireSystemAddress(address, 1));
    expect(await entryAt(0x20_0000)).toMatchObject({ assigned: true, size: '4K' });
    expect(await entryAt(0x3f_0000)).toMatchObject({ assigned: false });
    expect(await entryAt(0x40_0000)).toMatchObject({ assigned: true, size: '4K' });
    expect(await entryAt(0x60_0000)).toMatchObject({ assigned: true, size: '4K' });
  });
});

describe('memory that the guest touches without a word', () => {
  test('is shared where the guest uses it as shared, and its own to validate where not', async () => {
    const outcome = await resultOf(async (view) => {
      await view.writeShared(0x18_0000, Uint8Array.of(1, 2, 3));
      const shared = await view.readShared(0x18_0000, 3);
      const fault = await view.readPrivate(0x18_1000, 1).catch((error: { fault: string }) => error.fault);
      const validated = await view.pvalidate(0x18_1000, { size: '4K', validate: true });
      await view.writePrivate(0x18_1000, Uint8Array.of(4));
      return { shared, fault, validated, own: await view.readPrivate(0x18_1000, 1) };
    });
    expect(outcome).toEqual({
      shared: Uint8Array.of(1, 2, 3),
      fault: 'page-not-validated',
      validated: { status: pvalidateStatus.SUCCESS, changed: true },
      own: Uint8Array.of(4),
    });
  });

  test('outside of what it has ends the guest', async () => {
    const ended = await endOf((view) => view.readPrivate(0x4000_0000, 1));
    expect(ended).toMatchObject({ reason: 'fault', detail: expect.stringContaining('no memory at') });
  });
});

describe('guest requests', () => {
  const request = (requestAddress: number, responseAddress: number, more: Partial<HostCall> = {}) => ({
    exitCode: ghcbExitCodes.GUEST_REQUEST,
    exitInfo1: BigInt(requestAddress),
    exitInfo2: BigInt(responseAddress),
    ...more,
  });

  test.each<[string, number, number]>([
    ['outside of memory', 0x4000_0000, 0x7000],
    ['inside a page', 0xf010, 0x7000],
    ['on one page', 0xf000, 0xf000],
  ])('%s are the host’s to refuse', async (_name, from, to) => {
    const result = await resultOf(async (view) => {
      const { call, change } = await withGhcb(view);
      await change(entry('SHARED', 0xf000), entry('SHARED', 0x7000));
      const { exitInfo2 } = await call(request(from, to));
      return snpGuestRequestResult(exitInfo2);
    });
    expect(result).toEqual({ firmwareError: 0, vmmError: 3 });
  });

  test('that are no messages are the firmware’s to refuse', async () => {
    const result = await resultOf(async (view) => {
      const { call, change } = await withGhcb(view);
      await change(entry('SHARED', 0xf000), entry('SHARED', 0x7000));
      await view.writeShared(0xf000, new Uint8Array(0x1000).fill(1));
      return snpGuestRequestResult((await call(request(0xf000, 0x7000))).exitInfo2);
    });
    expect(result).toEqual({ firmwareError: 0x16, vmmError: 0 });
  });

  test('are told how many pages the certificate table needs, and the firmware is not asked', async () => {
    const { machine, result } = await runProgram(
      async (view) => {
        const { call, change } = await withGhcb(view);
        await change(entry('SHARED', 0xf000), entry('SHARED', 0x7000));
        const exitCode = ghcbExitCodes.EXT_GUEST_REQUEST;
        const ask = async (pages: bigint, address = 0x1_0000n) => {
          const answer = await call(request(0xf000, 0x7000, { exitCode, rax: address, rbx: pages }));
          return { ...snpGuestRequestResult(answer.exitInfo2), pages: answer.rbx };
        };
        const answers = [await ask(2n), await ask(3n, 0x1_0010n), await ask(3n, 0x4000_0000n), await ask(3n)];
        return { answers, table: await view.readShared(0x1_0000, 0x2001) };
      },
      { certificateTable: new Uint8Array(0x2001).fill(5) },
    );
    const { answers, table } = await result;
    expect(answers).toEqual([
      { firmwareError: 0, vmmError: 1, pages: 3n },
      { firmwareError: 0, vmmError: 3, pages: 3n },
      { firmwareError: 0, vmmError: 3, pages: 3n },
      // The message is none: now the firmware says so.
      { firmwareError: 0x16, vmmError: 0, pages: 3n },
    ]);
    expect(table).toEqual(new Uint8Array(0x2001).fill(5));
    expect(machine.failures).toEqual([]);
  });
});
