import {
  type PageState,
  pageStates,
  type StatusName,
  snpDbgBuffer,
  snpPageMoveBuffer,
  snpPageReclaimBuffer,
  snpPageUnsmashBuffer,
} from '@vouchsafe/sev';
import { beforeEach, describe, expect, it } from 'vitest';
import { decryptMemory } from '../../memory/encryption.js';
import { expectSuccess, seededRandom } from '../../testing/hypervisor.js';
import { plainPolicy, SnpHypervisor, snpPlaces } from '../../testing/snp-hypervisor.js';

const { context, pages, result, plain, otherContext } = snpPlaces;
const debugPolicy = 0xb0000n;
const states = Object.keys(pageStates) as PageState[];

let on: SnpHypervisor;
beforeEach(async () => {
  on = new SnpHypervisor();
  await on.start();
});

/** Puts a page into a state, as a page of the guest with ASID 1 where it is a guest's. */
const place = (page: number, state: PageState, asid = 1) =>
  on.reverseMap.setState(page, state, { asid, guestAddress: 0x1000 });

/** Each command that touches a page, in each state of the page: written by hand from the reference sheet. */
const invalid = 'INVALID_PAGE_STATE';
const rows: Readonly<
  Record<PageState, Readonly<Record<'create' | 'reclaim' | 'decrypt' | 'encrypt' | 'result', StatusName>>>
> = {
  //               GCTX_CREATE         PAGE_RECLAIM         DBG_DECRYPT of it   DBG_ENCRYPT to it   result into it
  Hypervisor: { create: invalid, reclaim: invalid, decrypt: invalid, encrypt: invalid, result: invalid },
  'HV-Fixed': { create: invalid, reclaim: invalid, decrypt: invalid, encrypt: invalid, result: invalid },
  Reclaim: { create: invalid, reclaim: invalid, decrypt: invalid, encrypt: invalid, result: invalid },
  Firmware: { create: 'SUCCESS', reclaim: 'SUCCESS', decrypt: invalid, encrypt: invalid, result: 'SUCCESS' },
  Context: { create: invalid, reclaim: invalid, decrypt: invalid, encrypt: invalid, result: invalid },
  Metadata: { create: invalid, reclaim: 'SUCCESS', decrypt: invalid, encrypt: invalid, result: invalid },
  'Pre-Guest': {
    create: invalid,
    reclaim: 'SUCCESS',
    decrypt: 'SUCCESS',
    encrypt: 'SUCCESS',
    result: invalid,
  },
  'Pre-Swap': {
    create: invalid,
    reclaim: 'SUCCESS',
    decrypt: 'SUCCESS',
    encrypt: 'SUCCESS',
    result: invalid,
  },
  'Guest-Invalid': {
    create: invalid,
    reclaim: invalid,
    decrypt: 'SUCCESS',
    encrypt: 'SUCCESS',
    result: invalid,
  },
  'Guest-Valid': {
    create: invalid,
    reclaim: invalid,
    decrypt: 'SUCCESS',
    encrypt: 'SUCCESS',
    result: invalid,
  },
};

const debug = (name: 'SNP_DBG_DECRYPT' | 'SNP_DBG_ENCRYPT', source: number, destination: number) =>
  on.call(name, [
    snpDbgBuffer,
    { gctxAddress: BigInt(context), sourceAddress: BigInt(source), destinationAddress: BigInt(destination) },
  ]);

const operations = {
  create: async () => on.call('SNP_GCTX_CREATE', new Uint8Array(new BigUint64Array([BigInt(pages)]).buffer)),
  reclaim: async () => on.reclaim(pages),
  decrypt: async () => debug('SNP_DBG_DECRYPT', pages, result),
  encrypt: async () => debug('SNP_DBG_ENCRYPT', plain, pages),
  result: async () => debug('SNP_DBG_DECRYPT', pages + 4096, pages),
} as const;

describe.each(states)('a page in state %s', (state) => {
  it.each(Object.keys(operations) as (keyof typeof operations)[])(
    'and the command to %s',
    async (operation) => {
      await on.newGuest({ policy: debugPolicy });
      place(pages, state);
      place(pages + 4096, 'Guest-Valid');
      const before = on.memory.read(pages, 4096);
      const status = rows[state][operation];
      expect(await operations[operation]()).toBe(status);
      const moved = { create: 'Context', reclaim: 'Reclaim' }[operation as string] ?? state;
      expect(on.reverseMap.state(pages)).toBe(status === 'SUCCESS' ? moved : state);
      if (status !== 'SUCCESS') expect(on.memory.read(pages, 4096)).toEqual(before);
    },
  );
});

describe('PAGE_RECLAIM', () => {
  it('names a page by the size that it has', async () => {
    on.rmpUpdate(pages, { immutable: true, size: '2M' });
    expect(await on.reclaim(pages)).toBe('INVALID_PAGE_SIZE');
    expect(await on.reclaim(result, false)).toBe('SUCCESS');
    expect(await on.reclaim(pages + 4096, true)).toBe('INVALID_ADDRESS');
    expect(await on.reclaim(on.memory.size)).toBe('INVALID_ADDRESS');
    expect(await on.reclaim(pages, true)).toBe('SUCCESS');
    expect(on.reverseMap.state(pages + 4096)).toBe('Reclaim');
    const far = { page: { large: false, frame: 2 ** 52 - 1 } };
    expect(await on.call('SNP_PAGE_RECLAIM', [snpPageReclaimBuffer, far])).toBe('INVALID_ADDRESS');
  });

  it('gives the page back to RMPUPDATE', async () => {
    expect(
      on.reverseMap.update(result, {
        assigned: false,
        size: '4K',
        immutable: false,
        guestAddress: 0,
        asid: 0,
      }),
    ).toBe(2);
    expectSuccess(await on.reclaim(result));
    on.rmpUpdate(result, { assigned: false });
    expect(on.reverseMap.state(result)).toBe('Hypervisor');
  });
});

describe('GCTX_CREATE', () => {
  it('needs a page of 4 KiB, and shows nothing of the context in it', async () => {
    on.rmpUpdate(pages, { immutable: true, size: '2M' });
    expect(await operations.create()).toBe('INVALID_PAGE_SIZE');
    await on.newGuest();
    const seen = Buffer.from(on.memory.read(context, 4096)).toString('latin1');
    expect(seen).not.toContain(Buffer.from(on.launch().reportId).toString('latin1'));
    expect(new Set(seen).size).toBeGreaterThan(100);
  });
});

describe('PAGE_UNSMASH', () => {
  const unsmash = (page: number) =>
    on.call('SNP_PAGE_UNSMASH', [snpPageUnsmashBuffer, { page: { large: false, frame: page / 4096 } }]);

  beforeEach(async () => {
    on.rmpUpdate(pages, { size: '2M', asid: 1, guestAddress: 0x20_0000 });
    expect(on.reverseMap.smash(pages)).toBe(0);
  });

  it('undoes PSMASH', async () => {
    expect(await unsmash(pages)).toBe('SUCCESS');
    expect(on.reverseMap.entry(pages + 4096)).toMatchObject({ size: '2M', guestAddress: 0x20_1000, asid: 1 });
    expect(await unsmash(pages)).toBe('INVALID_PAGE_SIZE');
  });

  it.each<[string, (page: number) => void, StatusName]>([
    ['of another guest', (page) => place(page, 'Guest-Invalid', 2), 'INVALID_PAGE_OWNER'],
    [
      'that the guest has validated',
      (page) => on.reverseMap.setState(page, 'Guest-Valid'),
      'INVALID_PAGE_STATE',
    ],
    ['at another guest address', (page) => place(page, 'Guest-Invalid'), 'INVALID_PAGE_STATE'],
    ['of the hypervisor', (page) => on.reverseMap.setState(page, 'Hypervisor'), 'INVALID_PAGE_STATE'],
    ['of the firmware', (page) => on.reverseMap.setState(page, 'Firmware'), 'INVALID_PAGE_STATE'],
    [
      'with other permissions',
      (page) => on.reverseMap.setState(page, 'Guest-Invalid', { permissions: [0x1f, 1, 0, 0] }),
      'INVALID_PAGE_STATE',
    ],
  ])('refuses 512 pages with one %s', async (_what, change, status) => {
    change(pages + 511 * 4096);
    expect(await unsmash(pages)).toBe(status);
    expect(on.reverseMap.entry(pages).size).toBe('4K');
  });

  it('refuses what is no page of 2 MiB, or no guest’s', async () => {
    expect(await unsmash(pages + 4096)).toBe('INVALID_ADDRESS');
    expect(await unsmash(on.memory.size)).toBe('INVALID_ADDRESS');
    expect(await unsmash(0x20_0000)).toBe('INVALID_PAGE_STATE');
  });
});

describe('the debug commands', () => {
  const contents = seededRandom('debug')(4096);

  it('read and write pages of a guest that allows it', async () => {
    await on.newGuest({ policy: debugPolicy });
    expectSuccess(await on.load('NORMAL', { contents }));
    expect(await debug('SNP_DBG_DECRYPT', pages, result)).toBe('SUCCESS');
    expect(on.memory.read(result, 4096)).toEqual(contents);
    on.memory.write(plain, contents.toReversed());
    expect(await debug('SNP_DBG_ENCRYPT', plain, pages)).toBe('SUCCESS');
    expect(decryptMemory(on.launch().memoryKey, pages, on.memory.read(pages, 4096))).toEqual(
      contents.toReversed(),
    );
  });

  it('are refused by the policy of any other guest, and write nothing', async () => {
    await on.newGuest({ policy: plainPolicy });
    expectSuccess(await on.load('NORMAL', { contents }));
    const [before, answer] = [on.memory.read(pages, 4096), on.memory.read(result, 4096)];
    expect(await debug('SNP_DBG_DECRYPT', pages, result)).toBe('POLICY_FAILURE');
    expect(await debug('SNP_DBG_ENCRYPT', plain, pages)).toBe('POLICY_FAILURE');
    expect(on.memory.read(pages, 4096)).toEqual(before);
    expect(on.memory.read(result, 4096)).toEqual(answer);
  });

  it('do not reach pages of another guest, and results go into Firmware pages', async () => {
    await on.newGuest({ policy: debugPolicy });
    await on.newGuest({ policy: plainPolicy, context: otherContext, asid: 2 });
    expectSuccess(await on.load('NORMAL', { contents, context: otherContext, asid: 2 }));
    expect(await debug('SNP_DBG_DECRYPT', pages, result)).toBe('INVALID_PAGE_OWNER');
    expect(await debug('SNP_DBG_ENCRYPT', plain, pages)).toBe('INVALID_PAGE_OWNER');
    place(pages + 4096, 'Guest-Valid');
    expect(await debug('SNP_DBG_DECRYPT', pages + 4096, plain)).toBe('INVALID_PAGE_STATE');
    expect(await debug('SNP_DBG_DECRYPT', pages + 4096 + 16, result)).toBe('INVALID_ADDRESS');
    expect(await debug('SNP_DBG_DECRYPT', pages + 4096, result + 16)).toBe('INVALID_ADDRESS');
  });
});

describe('moving and swapping', () => {
  it('is refused by a policy that forbids it, before it is not carried out yet', async () => {
    const move = () =>
      on.call('SNP_PAGE_MOVE', [
        snpPageMoveBuffer,
        { gctxAddress: BigInt(context), sourceAddress: BigInt(pages), destinationAddress: BigInt(result) },
      ]);
    await on.newGuest({ policy: plainPolicy | (1n << 25n) });
    expect(await move()).toBe('POLICY_FAILURE');
    await on.remove();
    await on.newGuest();
    expect(await move()).toBe('UNSUPPORTED');
  });
});

describe('a guest that is gone', () => {
  it('leaves no key behind, and its memory is noise to whoever gets it', async () => {
    await on.newGuest();
    expectSuccess(await on.load('NORMAL', { contents: new Uint8Array(4096) }));
    const { memoryKey, messageKeys, migrationRootKey, offlineKey } = on.launch();
    await on.remove();
    const secrets = [memoryKey, migrationRootKey, offlineKey, ...messageKeys];
    expect(secrets.every((secret) => secret.isZeroed)).toBe(true);
    on.rmpUpdate(pages, { assigned: false });
    await on.newGuest({ policy: debugPolicy });
    place(pages, 'Guest-Valid');
    expectSuccess(await debug('SNP_DBG_DECRYPT', pages, result));
    expect(on.memory.read(result, 4096)).not.toEqual(new Uint8Array(4096));
  });
});
