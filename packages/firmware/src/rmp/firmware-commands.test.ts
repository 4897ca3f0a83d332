import {
  type PageState,
  type StatusName,
  snpDbgBuffer,
  snpGctxBuffer,
  snpGuestStatusBuffer,
  snpPageReclaimBuffer,
  snpPageUnsmashBuffer,
} from '@vouchsafe/sev';
import { beforeEach, describe, expect, it } from 'vitest';
import { expectSuccess } from '../testing/hypervisor.js';
import { states } from '../testing/page-states.js';
import { SnpHypervisor, snpPlaces } from '../testing/snp-hypervisor.js';
import { largePage } from './page-state.js';

/**
 * Every state of a page against every command of the firmware that wants a page in a certain state: what the command
 * answers, and the state that it leaves. LAUNCH_UPDATE and GUEST_REQUEST are in ../snp, where their contents are.
 */

const { pages, context, result, plain } = snpPlaces;
const page = pages + 0x3000;
const gctxAddress = BigInt(context);
const debugPolicy = 0xb0000n;
const asid = 1;

let on: SnpHypervisor;

beforeEach(async () => {
  on = new SnpHypervisor();
  await on.start();
  await on.newGuest({ policy: debugPolicy, asid });
});

function inState(state: PageState, address: number): void {
  on.reverseMap.setState(address, state, { asid, guestAddress: address - pages });
}

const debug = (name: 'SNP_DBG_DECRYPT' | 'SNP_DBG_ENCRYPT', from: number, to: number) =>
  on.call(name, [snpDbgBuffer, { gctxAddress, sourceAddress: BigInt(from), destinationAddress: BigInt(to) }]);

const commands = {
  SNP_GCTX_CREATE: () => on.call('SNP_GCTX_CREATE', [snpGctxBuffer, { gctxAddress: BigInt(page) }]),
  SNP_PAGE_RECLAIM: () =>
    on.call('SNP_PAGE_RECLAIM', [snpPageReclaimBuffer, { page: { large: false, frame: page / 4096 } }]),
  'a result in it (SNP_GUEST_STATUS)': () =>
    on.call('SNP_GUEST_STATUS', [snpGuestStatusBuffer, { gctxAddress, statusAddress: BigInt(page) }]),
  'SNP_DBG_DECRYPT from it': () => debug('SNP_DBG_DECRYPT', page, result),
  'SNP_DBG_DECRYPT into it': () => {
    inState('Guest-Valid', pages);
    return debug('SNP_DBG_DECRYPT', pages, page);
  },
  'SNP_DBG_ENCRYPT from it': () => {
    inState('Guest-Valid', pages);
    return debug('SNP_DBG_ENCRYPT', page, pages);
  },
  'SNP_DBG_ENCRYPT into it': () => debug('SNP_DBG_ENCRYPT', plain, page),
};

const refused = (state: PageState) => `INVALID_PAGE_STATE ${state}`;
const everywhere = (outcome: (state: PageState) => string) =>
  Object.fromEntries(states.map((state) => [state, outcome(state)])) as Record<PageState, string>;
const stays = (state: PageState) => `SUCCESS ${state}`;
const guestPages = { 'Pre-Guest': 1, 'Pre-Swap': 1, 'Guest-Invalid': 1, 'Guest-Valid': 1 };
const guestPagesOnly = everywhere((state) =>
  Object.hasOwn(guestPages, state) ? stays(state) : refused(state),
);
const firmwarePagesOnly = { ...everywhere(refused), Firmware: 'SUCCESS Firmware' };

const expected: Record<keyof typeof commands, Record<PageState, string>> = {
  SNP_GCTX_CREATE: { ...everywhere(refused), Firmware: 'SUCCESS Context' },
  SNP_PAGE_RECLAIM: {
    ...everywhere(refused),
    Firmware: 'SUCCESS Reclaim',
    Metadata: 'SUCCESS Reclaim',
    'Pre-Guest': 'SUCCESS Reclaim',
    'Pre-Swap': 'SUCCESS Reclaim',
  },
  'a result in it (SNP_GUEST_STATUS)': firmwarePagesOnly,
  'SNP_DBG_DECRYPT from it': guestPagesOnly,
  'SNP_DBG_DECRYPT into it': firmwarePagesOnly,
  'SNP_DBG_ENCRYPT from it': everywhere(stays),
  'SNP_DBG_ENCRYPT into it': guestPagesOnly,
};

describe.each(states)('a page in state %s under the firmware', (state) => {
  it.each(Object.keys(commands) as (keyof typeof commands)[])('%s', async (name) => {
    inState(state, page);
    const before = on.memory.read(page, 4096);
    const status = await commands[name]();
    expect(`${status} ${on.reverseMap.state(page)}`).toBe(expected[name][state]);
    if (status !== 'SUCCESS') expect(on.memory.read(page, 4096)).toEqual(before);
  });

  it('SNP_PAGE_UNSMASH of 512 such', async () => {
    for (let at = pages; at < pages + largePage; at += 4096) inState(state, at);
    const buffer = { page: { large: true, frame: pages / 4096 } };
    const status: StatusName = await on.call('SNP_PAGE_UNSMASH', [snpPageUnsmashBuffer, buffer]);
    expect(`${status} ${on.reverseMap.state(page)}`).toBe(guestPagesOnly[state]);
    expect(on.reverseMap.entry(page).size).toBe(status === 'SUCCESS' ? '2M' : '4K');
  });
});

it('the firmware takes a page of 2 MiB back as a whole, and from nobody who says another size', async () => {
  on.preGuest(pages, 0, asid, '2M');
  const reclaim = (large: boolean) => on.reclaim(pages, large);
  expect(await reclaim(false)).toBe('INVALID_PAGE_SIZE');
  expectSuccess(await reclaim(true));
  expect(on.reverseMap.entry(page)).toMatchObject({ size: '2M', asid: 0, immutable: false });
  expect(await on.reclaim(page)).toBe('INVALID_PAGE_SIZE');
});
