import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InvalidArgumentError, MalformedError } from '../errors.js';
import { sevCommandName } from '../legacy/commands.js';
import { snpCommandName, snpCommands } from './commands.js';
import * as guest from './guest-buffers.js';
import * as page from './page-buffers.js';
import { type PageState, pageStateOf, pageStates, rmpEntry, vmplPermissionBits } from './page-states.js';
import * as platform from './platform-buffers.js';

/** Sizes and offsets as AMD 56860 and linux include/linux/psp-sev.h have them, written down here by hand. */
const layouts: readonly [{ size: number; offsetOf(name: never): number }, number, Record<string, number>][] =
  [
    [platform.snpInitExBuffer, 64, { flags: 0, listAddress: 8, maxSnpAsid: 0x10 }],
    [platform.snpRangeListHeader, 8, { count: 0 }],
    [platform.snpRangeListEntry, 16, { base: 0, pageCount: 8 }],
    [platform.snpShutdownExBuffer, 8, { length: 0, flags: 4 }],
    [platform.snpPlatformStatusBuffer, 8, { statusAddress: 0 }],
    [
      platform.snpPlatformStatus,
      32,
      {
        apiMajor: 0,
        apiMinor: 1,
        state: 2,
        memory: 3,
        build: 4,
        features: 8,
        guestCount: 12,
        currentTcb: 0x10,
        reportedTcb: 0x18,
      },
    ],
    [platform.snpFeatureInfoBuffer, 16, { length: 0, ecxIn: 4, resultAddress: 8 }],
    [platform.snpFeatureInfo, 16, { eax: 0, ebx: 4, ecx: 8, edx: 12 }],
    [platform.snpConfigBuffer, 64, { reportedTcb: 0, flags: 8 }],
    [platform.snpCommitBuffer, 4, { length: 0 }],
    [platform.snpVlekLoadBuffer, 16, { length: 0, wrappedVersion: 4, hashstickAddress: 8 }],
    [platform.vlekHashstick, 432, { iv: 0, wrapped: 0x10, tcbVersion: 0x190, tag: 0x1a0 }],
    [guest.snpGctxBuffer, 8, { gctxAddress: 0 }],
    [guest.snpActivateBuffer, 16, { gctxAddress: 0, asid: 8 }],
    [
      guest.snpActivateExBuffer,
      0x20,
      { length: 0, gctxAddress: 8, asid: 0x10, idCount: 0x14, idListAddress: 0x18 },
    ],
    [guest.snpGuestStatusBuffer, 16, { gctxAddress: 0, statusAddress: 8 }],
    [guest.snpGuestStatus, 32, { policy: 0, asid: 8, state: 12 }],
    [
      guest.snpLaunchStartBuffer,
      0x30,
      {
        gctxAddress: 0,
        policy: 8,
        migrationAgentAddress: 0x10,
        flags: 0x18,
        desiredTscFrequency: 0x1c,
        gosvw: 0x20,
      },
    ],
    [
      guest.snpLaunchUpdateBuffer,
      0x20,
      {
        gctxAddress: 0,
        page: 8,
        pageAddress: 0x10,
        vmpl1Permissions: 0x19,
        vmpl2Permissions: 0x1a,
        vmpl3Permissions: 0x1b,
      },
    ],
    [
      guest.snpLaunchFinishBuffer,
      0x40,
      { gctxAddress: 0, idBlockAddress: 8, idAuthAddress: 0x10, flags: 0x18, hostData: 0x20 },
    ],
    [guest.snpGuestRequestBuffer, 0x18, { gctxAddress: 0, requestAddress: 8, responseAddress: 0x10 }],
    [guest.snpDbgBuffer, 0x18, { gctxAddress: 0, sourceAddress: 8, destinationAddress: 0x10 }],
    [page.snpPageReclaimBuffer, 8, { page: 0 }],
    [page.snpPageUnsmashBuffer, 8, { page: 0 }],
    [
      page.snpPageMoveBuffer,
      0x20,
      { gctxAddress: 0, flags: 8, sourceAddress: 0x10, destinationAddress: 0x18 },
    ],
    [
      page.snpPageSwapOutBuffer,
      0x30,
      {
        gctxAddress: 0,
        sourceAddress: 8,
        destinationAddress: 0x10,
        metadataAddress: 0x18,
        softwareData: 0x20,
        flags: 0x28,
      },
    ],
    [
      page.snpPageSwapInBuffer,
      0x30,
      { gctxAddress: 0, sourceAddress: 8, destinationAddress: 0x10, metadataAddress: 0x18, flags: 0x28 },
    ],
    [page.snpPageMdInitBuffer, 0x10, { gctxAddress: 0, pageAddress: 8 }],
    [rmpEntry, 16, { page: 0, vmpl0Permissions: 8, vmpl3Permissions: 11 }],
  ];

describe('SNP command buffers', () => {
  it.each(layouts)('%o has its size and offsets', (structure, size, offsets) => {
    expect(structure.size).toBe(size);
    for (const [name, offset] of Object.entries(offsets))
      expect([name, structure.offsetOf(name as never)]).toEqual([name, offset]);
  });

  it('refuse reserved bits and bytes', () => {
    const bytes = guest.snpLaunchStartBuffer.build({ gctxAddress: 0x1000n, policy: 0x30000n });
    bytes[0x18] = 4;
    expect(() => guest.snpLaunchStartBuffer.parse(bytes)).toThrow(MalformedError);
    const config = platform.snpConfigBuffer.build({});
    config[0x0c] = 1;
    expect(() => platform.snpConfigBuffer.parse(config)).toThrow(MalformedError);
  });

  it('have their bits where the kernel sets them', () => {
    const update = guest.snpLaunchUpdateBuffer.build({
      gctxAddress: 0n,
      page: { large: false, type: 5, imiPage: true },
      pageAddress: 0n,
    });
    expect(update[8]).toBe(0b1_1010);
    const reclaim = page.snpPageReclaimBuffer.build({ page: { large: true, frame: 0x200 } });
    expect([...reclaim]).toEqual([1, 0, 0x20, 0, 0, 0, 0, 0]);
    const finish = guest.snpLaunchFinishBuffer.build({
      gctxAddress: 0n,
      flags: { idBlock: false, authorKey: false, vcekDisabled: true },
    });
    expect(finish[0x18]).toBe(4);
  });
});

describe('SNP commands', () => {
  it('have the ids of the specification', () => {
    expect(snpCommands).toMatchObject({
      SNP_INIT: 0x81,
      SNP_INIT_EX: 0x85,
      SNP_DECOMMISSION: 0x90,
      SNP_GUEST_REQUEST: 0x94,
      SNP_LAUNCH_START: 0xa0,
      SNP_DBG_ENCRYPT: 0xb1,
      SNP_PAGE_RECLAIM: 0xc7,
      SNP_CONFIG: 0xc9,
      SNP_VLEK_LOAD: 0xcd,
      SNP_FEATURE_INFO: 0xce,
    });
    expect(Object.keys(snpCommands)).toHaveLength(36);
    for (const [name, id] of Object.entries(snpCommands)) {
      expect(snpCommandName(id)).toBe(name);
      expect(sevCommandName(id)).toBeUndefined();
    }
    expect(snpCommandName(0xc4)).toBeUndefined();
  });
});

describe('page states', () => {
  const none = { vmsa: false, gpa: 0 };
  it.each<[PageState, 0 | 1, 0 | 1, 0 | 1, number, object?]>([
    ['Hypervisor', 0, 0, 0, 0],
    ['HV-Fixed', 0, 0, 1, 0],
    ['Reclaim', 1, 0, 0, 0],
    ['Firmware', 1, 0, 1, 0],
    ['Context', 1, 0, 1, 0, { vmsa: true }],
    ['Metadata', 1, 0, 1, 0, { gpa: 0x1000n }],
    ['Pre-Guest', 1, 0, 1, 7],
    ['Pre-Guest', 1, 0, 1, 7, { gpa: 0x1000 }],
    ['Pre-Swap', 1, 1, 1, 7],
    ['Guest-Invalid', 1, 0, 0, 7, { vmsa: true }],
    ['Guest-Valid', 1, 1, 0, 7],
  ])('%s', (state, assigned, validated, immutable, asid, rest = {}) => {
    const bits = { assigned: assigned === 1, validated: validated === 1, immutable: immutable === 1, asid };
    expect(pageStateOf({ ...bits, ...none, ...rest })).toBe(state);
    expect(pageStates[state]).toMatchObject({ assigned: assigned === 1, guest: asid > 0 });
  });

  it.each([
    [false, true, false, 0],
    [false, false, false, 3],
    [true, true, false, 0],
    [true, true, true, 0],
    [false, true, true, 9],
  ])('no state is A=%s V=%s I=%s of ASID %s', (assigned, validated, immutable, asid) => {
    expect(() => pageStateOf({ assigned, validated, immutable, asid, ...none })).toThrow(
      InvalidArgumentError,
    );
  });

  it('entries of the table have Milan’s bits', () => {
    const bytes = rmpEntry.build({
      page: {
        assigned: true,
        large: false,
        immutable: true,
        subpageCount: 0,
        frame: 0x12345,
        asid: 5,
        vmsa: true,
        validated: true,
        lock: false,
      },
      vmpl1Permissions: 3,
    });
    const word = new DataView(bytes.buffer).getBigUint64(0, true);
    expect(word).toBe((1n << 62n) | (1n << 61n) | (5n << 51n) | (0x12345n << 12n) | 5n);
    expect(bytes[9]).toBe(3);
  });

  it('permissions of a VMPL have five bits', () => {
    expect(vmplPermissionBits.build({ executeUser: true, supervisorShadowStack: true })).toBe(0x14n);
    fc.assert(
      fc.property(fc.integer({ min: 0x20, max: 0xff }), (byte) => {
        expect(() => vmplPermissionBits.parse(byte)).toThrow(MalformedError);
      }),
    );
  });
});
