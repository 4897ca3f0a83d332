import {
  type SnpCommandName,
  type SnpGuestState,
  type StatusName,
  snpActivateBuffer,
  snpActivateExBuffer,
  snpCommands,
  snpConfigBuffer,
  snpDbgBuffer,
  snpFeatureInfoBuffer,
  snpGctxBuffer,
  snpGuestRequestBuffer,
  snpGuestStatusBuffer,
  snpInitExBuffer,
  snpLaunchFinishBuffer,
  snpLaunchStartBuffer,
  snpLaunchUpdateBuffer,
  snpPageMdInitBuffer,
  snpPageMoveBuffer,
  snpPageReclaimBuffer,
  snpPageSwapInBuffer,
  snpPageSwapOutBuffer,
  snpPageUnsmashBuffer,
  snpPlatformStatusBuffer,
  snpShutdownExBuffer,
  snpVlekLoadBuffer,
} from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import { drawVlekHashstick, vlekWrapKey, wrapVlekHashstick } from '../../identity/vlek.js';
import { createDram } from '../../memory/dram.js';
import { expectSuccess, seededRandom } from '../../testing/hypervisor.js';
import { SnpHypervisor, snpPlaces } from '../../testing/snp-hypervisor.js';

/**
 * Every SEV-SNP command in every state of platform and guest, with what the reference sheet (sections 4.3 and 4.4) says.
 * The expectations are written down here and not taken from the firmware's own table.
 *
 * A cell is `ok`, `ok>STATE` where the platform or the guest moves on, or a status.
 */
const platform = 'INVALID_PLATFORM_STATE';
const guest = 'INVALID_GUEST_STATE';
const later = 'UNSUPPORTED';
const inactive = 'INACTIVE';

type Cell = 'ok' | `ok>${string}` | StatusName;
type Row = readonly [
  uninit: Cell,
  init: Cell,
  gstateInit: Cell,
  launch: Cell,
  launchInactive: Cell,
  running: Cell,
  runningInactive: Cell,
];

/** UNINIT and INIT are the platform's, without a guest; the others are a guest's, with or without an ASID. */
const columns = ['UNINIT', 'INIT', 'GINIT', 'LAUNCH', 'LAUNCH-', 'RUNNING', 'RUNNING-'] as const;
type Column = (typeof columns)[number];

const active = 'ACTIVE';
const gone = 'INVALID_GUEST';

const table: Readonly<Record<SnpCommandName, Row>> = {
  //                     UNINIT     INIT       GINIT      LAUNCH     LAUNCH-    RUNNING    RUNNING-
  SNP_INIT: ['ok>INIT', platform, platform, platform, platform, platform, platform],
  SNP_INIT_EX: ['ok>INIT', platform, platform, platform, platform, platform, platform],
  SNP_SHUTDOWN: [platform, 'ok>UNINIT', 'ok>UNINIT', active, 'ok>UNINIT', active, 'ok>UNINIT'],
  SNP_SHUTDOWN_EX: [platform, 'ok>UNINIT', 'ok>UNINIT', active, 'ok>UNINIT', active, 'ok>UNINIT'],
  SNP_PLATFORM_STATUS: ['ok', 'ok', 'ok', 'ok', 'ok', 'ok', 'ok'],
  SNP_FEATURE_INFO: ['ok', 'ok', 'ok', 'ok', 'ok', 'ok', 'ok'],
  SNP_DF_FLUSH: [platform, 'ok', 'ok', 'ok', 'ok', 'ok', 'ok'],
  SNP_CONFIG: [platform, 'ok', 'ok', 'ok', 'ok', 'ok', 'ok'],
  SNP_COMMIT: [platform, 'ok', 'ok', 'ok', 'ok', 'ok', 'ok'],
  SNP_VLEK_LOAD: [platform, 'ok', 'ok', 'ok', 'ok', 'ok', 'ok'],

  SNP_GCTX_CREATE: [platform, 'ok', 'ok', 'ok', 'ok', 'ok', 'ok'],
  SNP_LAUNCH_START: [platform, gone, 'ok>LAUNCH', guest, guest, guest, guest],
  SNP_ACTIVATE: [platform, gone, guest, active, 'ok', active, 'ok'],
  SNP_ACTIVATE_EX: [platform, gone, guest, active, 'ok', active, 'ok'],
  SNP_LAUNCH_UPDATE: [platform, gone, guest, 'ok', inactive, guest, guest],
  SNP_LAUNCH_FINISH: [platform, gone, guest, 'ok>RUNNING', 'ok>RUNNING', guest, guest],
  SNP_GUEST_REQUEST: [platform, gone, guest, guest, guest, 'ok', 'ok'],
  SNP_GUEST_STATUS: [platform, gone, 'ok', 'ok', 'ok', 'ok', 'ok'],
  SNP_DECOMMISSION: [platform, gone, 'ok>gone', 'ok>gone', 'ok>gone', 'ok>gone', 'ok>gone'],
  SNP_DBG_DECRYPT: [platform, gone, guest, 'ok', inactive, 'ok', inactive],
  SNP_DBG_ENCRYPT: [platform, gone, guest, 'ok', inactive, 'ok', inactive],

  SNP_PAGE_RECLAIM: [platform, 'ok', 'ok', 'ok', 'ok', 'ok', 'ok'],
  SNP_PAGE_UNSMASH: [platform, 'ok', 'ok', 'ok', 'ok', 'ok', 'ok'],

  // Migration, devices and updates are not carried out yet: where they will be legal, they are UNSUPPORTED.
  SNP_PAGE_MOVE: [platform, gone, guest, later, inactive, later, inactive],
  SNP_PAGE_SWAP_OUT: [platform, gone, guest, later, inactive, later, inactive],
  SNP_PAGE_SWAP_IN: [platform, gone, guest, later, inactive, later, inactive],
  SNP_PAGE_MD_INIT: [platform, gone, later, later, later, later, later],
  SNP_PAGE_SET_STATE: [platform, later, later, later, later, later, later],
  SNP_VERIFY_MITIGATION: [platform, later, later, later, later, later, later],
  SNP_DOWNLOAD_FIRMWARE_EX: [later, later, later, later, later, later, later],
  TIO_STATUS: [platform, later, later, later, later, later, later],
  TIO_INIT: [platform, later, later, later, later, later, later],
  TIO_DEV_CREATE: [platform, later, later, later, later, later, later],
  TIO_DEV_RECLAIM: [platform, later, later, later, later, later, later],
  TIO_DEV_CONNECT: [platform, later, later, later, later, later, later],
  TIO_DEV_DISCONNECT: [platform, later, later, later, later, later, later],
};

/** Commands that name a guest by its Context page. */
const namingGuest: readonly SnpCommandName[] = [
  'SNP_LAUNCH_START',
  'SNP_ACTIVATE',
  'SNP_ACTIVATE_EX',
  'SNP_LAUNCH_UPDATE',
  'SNP_LAUNCH_FINISH',
  'SNP_GUEST_REQUEST',
  'SNP_GUEST_STATUS',
  'SNP_DECOMMISSION',
  'SNP_DBG_DECRYPT',
  'SNP_DBG_ENCRYPT',
  'SNP_PAGE_MOVE',
  'SNP_PAGE_SWAP_OUT',
  'SNP_PAGE_SWAP_IN',
  'SNP_PAGE_MD_INIT',
];

const debugPolicy = 0xb0000n;
const { context, pages, result, response, request, plain, otherContext } = snpPlaces;
const launched = pages;
const fresh = pages + 0x1000;
const large = pages + 0x20_0000;
const memory = createDram(8 * 1024 * 1024);

async function hypervisorIn(column: Column): Promise<SnpHypervisor> {
  const on = new SnpHypervisor({ memory });
  if (column === 'UNINIT') return on;
  await on.start();
  on.firmwarePage(otherContext);
  if (column === 'INIT') return on;
  expectSuccess(await on.create());
  if (column === 'GINIT') return on;
  expectSuccess(await on.launchStart(debugPolicy));
  const isActive = !column.endsWith('-');
  if (isActive) {
    expectSuccess(await on.activate(1));
    expectSuccess(await on.load('NORMAL', { page: launched, gpa: 0x1000 }));
    on.preGuest(fresh, 0x2000);
  }
  if (column.startsWith('RUNNING')) expectSuccess(await on.finish());
  return on;
}

async function bufferFor(name: SnpCommandName, on: SnpHypervisor): Promise<Uint8Array | undefined> {
  const gctxAddress = BigInt(context);
  const moving = {
    gctxAddress,
    sourceAddress: BigInt(launched),
    destinationAddress: BigInt(result),
  };
  switch (name) {
    case 'SNP_INIT_EX':
      return snpInitExBuffer.build({});
    case 'SNP_SHUTDOWN_EX':
      return snpShutdownExBuffer.build({});
    case 'SNP_PLATFORM_STATUS':
      return snpPlatformStatusBuffer.build({ statusAddress: BigInt(result) });
    case 'SNP_FEATURE_INFO':
      return snpFeatureInfoBuffer.build({ ecxIn: 0, resultAddress: BigInt(result) });
    case 'SNP_CONFIG':
      return snpConfigBuffer.build({});
    case 'SNP_COMMIT':
      return Uint8Array.of(4, 0, 0, 0);
    case 'SNP_VLEK_LOAD': {
      const random = seededRandom('table vlek');
      const { line, currentTcb: tcb } = on.firmware.profile;
      const hashstick = drawVlekHashstick(random);
      const wrapped = wrapVlekHashstick({ wrapKey: vlekWrapKey(on.chip), hashstick, line, tcb, random });
      memory.write(snpPlaces.hashstick, wrapped);
      return snpVlekLoadBuffer.build({ hashstickAddress: BigInt(snpPlaces.hashstick) });
    }
    case 'SNP_GCTX_CREATE':
      return snpGctxBuffer.build({ gctxAddress: BigInt(otherContext) });
    case 'SNP_LAUNCH_START':
      return snpLaunchStartBuffer.build({ gctxAddress, policy: debugPolicy });
    case 'SNP_ACTIVATE':
      return snpActivateBuffer.build({ gctxAddress, asid: 2 });
    case 'SNP_ACTIVATE_EX':
      return snpActivateExBuffer.build({ gctxAddress, asid: 2, idCount: 2, idListAddress: BigInt(plain) });
    case 'SNP_LAUNCH_UPDATE':
      return snpLaunchUpdateBuffer.build({
        gctxAddress,
        page: { large: false, type: 1, imiPage: false },
        pageAddress: BigInt(fresh),
      });
    case 'SNP_LAUNCH_FINISH':
      return snpLaunchFinishBuffer.build({ gctxAddress });
    case 'SNP_GUEST_REQUEST':
      if (on.firmware.current?.guests.count === 1 && on.guest().launch !== undefined) {
        memory.write(request, await on.sealed('TSC_INFO_REQ', new Uint8Array(128)));
      }
      return snpGuestRequestBuffer.build({
        gctxAddress,
        requestAddress: BigInt(request),
        responseAddress: BigInt(response),
      });
    case 'SNP_GUEST_STATUS':
      return snpGuestStatusBuffer.build({ gctxAddress, statusAddress: BigInt(result) });
    case 'SNP_DECOMMISSION':
      return snpGctxBuffer.build({ gctxAddress });
    case 'SNP_DBG_DECRYPT':
      return snpDbgBuffer.build(moving);
    case 'SNP_DBG_ENCRYPT':
      return snpDbgBuffer.build({
        gctxAddress,
        sourceAddress: BigInt(plain),
        destinationAddress: BigInt(launched),
      });
    case 'SNP_PAGE_RECLAIM':
      return snpPageReclaimBuffer.build({ page: { large: false, frame: result / 4096 } });
    case 'SNP_PAGE_UNSMASH':
      if (on.firmware.state === 'INIT') {
        for (let i = 0; i < 512; i++) {
          on.rmpUpdate(large + 4096 * i, { asid: 9, guestAddress: 0x40_0000 + 4096 * i });
        }
      }
      return snpPageUnsmashBuffer.build({ page: { large: false, frame: large / 4096 } });
    case 'SNP_PAGE_MOVE':
      return snpPageMoveBuffer.build(moving);
    case 'SNP_PAGE_SWAP_OUT':
      return snpPageSwapOutBuffer.build({ ...moving, flags: {} as never });
    case 'SNP_PAGE_SWAP_IN':
      return snpPageSwapInBuffer.build({ ...moving, flags: {} as never });
    case 'SNP_PAGE_MD_INIT':
      return snpPageMdInitBuffer.build({ gctxAddress, pageAddress: BigInt(result) });
    default:
      return undefined;
  }
}

const stateAt: Readonly<Partial<Record<Column, SnpGuestState>>> = {
  GINIT: 'INIT',
  LAUNCH: 'LAUNCH',
  'LAUNCH-': 'LAUNCH',
  RUNNING: 'RUNNING',
  'RUNNING-': 'RUNNING',
};

describe.each(Object.keys(snpCommands) as SnpCommandName[])('%s', (name) => {
  it.each(columns.map((column, i) => [column, table[name][i]!] as const))(
    'in %s: %s',
    async (column, cell) => {
      const on = await hypervisorIn(column);
      const buffer = await bufferFor(name, on);
      const before = on.firmware.state;
      const status = await on.call(name, buffer);
      expect(status).toBe(cell.startsWith('ok') ? 'SUCCESS' : cell);

      const moved = cell.startsWith('ok>') ? cell.slice(3) : undefined;
      const isPlatforms = moved === 'INIT' || moved === 'UNINIT';
      expect(on.firmware.state).toBe(isPlatforms ? moved : before);
      if (stateAt[column] === undefined || isPlatforms) return;
      if (moved === 'gone') expect(() => on.guest()).toThrow('INVALID_GUEST');
      else expect(on.guest().state).toBe(moved ?? stateAt[column]);
    },
  );
});

describe.each(namingGuest)('%s names its guest', (name) => {
  it.each([
    ['by an address that is no page’s', BigInt(context) + 8n, 'INVALID_ADDRESS'],
    ['by an address beyond memory', BigInt(memory.size), 'INVALID_ADDRESS'],
    ['by an address that no number holds', 0xffff_ffff_ffff_f000n, 'INVALID_ADDRESS'],
    ['by a Firmware page', BigInt(otherContext), 'INVALID_GUEST'],
    ['by a page of a guest', BigInt(launched), 'INVALID_GUEST'],
  ] as const)('%s', async (_how, gctxAddress, expected) => {
    const on = await hypervisorIn('RUNNING');
    const buffer = (await bufferFor(name, on))!;
    const offset = name === 'SNP_ACTIVATE_EX' ? 8 : 0;
    new DataView(buffer.buffer).setBigUint64(offset, gctxAddress, true);
    expect(await on.call(name, buffer)).toBe(expected);
  });
});

describe('a command buffer', () => {
  const withBuffer = (Object.keys(snpCommands) as SnpCommandName[]).filter(
    (name) => !table[name].includes(later) && !['SNP_INIT', 'SNP_SHUTDOWN', 'SNP_DF_FLUSH'].includes(name),
  );

  it.each(withBuffer)('of %s beyond memory is INVALID_ADDRESS', async (name) => {
    const on = await hypervisorIn(name === 'SNP_INIT_EX' ? 'UNINIT' : 'RUNNING');
    const status = await on.processor.submit(snpCommands[name], memory.size - 2);
    expect(status).toBe(0x09);
  });

  it.each([
    ['SNP_INIT_EX', 0x3f],
    ['SNP_CONFIG', 0x3f],
    ['SNP_ACTIVATE', 0x0c],
    ['SNP_LAUNCH_UPDATE', 0x1c],
    ['SNP_LAUNCH_UPDATE', 0x08 + 1],
    ['SNP_LAUNCH_FINISH', 0x1c],
    ['SNP_LAUNCH_FINISH', 0x19],
    ['SNP_LAUNCH_START', 0x1b],
    ['SNP_VLEK_LOAD', 5],
    ['SNP_PAGE_RECLAIM', 0],
  ] as const)('of %s with a reserved bit at %i is INVALID_PARAM', async (name, offset) => {
    const on = await hypervisorIn(name === 'SNP_INIT_EX' ? 'UNINIT' : 'LAUNCH');
    const buffer = (await bufferFor(name, on))!;
    buffer[offset]! |= 0x80;
    expect(await on.call(name, buffer)).toBe('INVALID_PARAM');
  });

  it.each(['SNP_SHUTDOWN_EX', 'SNP_COMMIT', 'SNP_VLEK_LOAD', 'SNP_FEATURE_INFO', 'SNP_ACTIVATE_EX'] as const)(
    'of %s says its own length, else INVALID_LENGTH',
    async (name) => {
      const on = await hypervisorIn('LAUNCH-');
      const buffer = (await bufferFor(name, on))!;
      buffer[0]! += 1;
      expect(await on.call(name, buffer)).toBe('INVALID_LENGTH');
    },
  );
});

describe('processors without SEV-SNP', () => {
  it.each(['naples', 'rome'] as const)('%s does not know its commands', async (generation) => {
    const on = new SnpHypervisor({ generation, memory });
    for (const name of Object.keys(snpCommands) as SnpCommandName[]) {
      expect(await on.call(name)).toBe('INVALID_COMMAND');
    }
    expect(on.processor.snp).toBeUndefined();
  });
});
