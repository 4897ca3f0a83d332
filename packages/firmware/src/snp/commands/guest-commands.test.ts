import { type StatusName, snpActivateExBuffer, snpGctxBuffer, snpGuestStatusBuffer } from '@vouchsafe/sev';
import { beforeEach, describe, expect, it } from 'vitest';
import { expectSuccess } from '../../testing/hypervisor.js';
import { plainPolicy, SnpHypervisor, snpPlaces } from '../../testing/snp-hypervisor.js';

const { context, otherContext, result, plain } = snpPlaces;

let on: SnpHypervisor;
beforeEach(async () => {
  on = new SnpHypervisor();
  await on.start();
});

describe('GUEST_STATUS', () => {
  const statusInto = (address: number) =>
    on.call('SNP_GUEST_STATUS', [
      snpGuestStatusBuffer,
      { gctxAddress: BigInt(context), statusAddress: BigInt(address) },
    ]);
  /** Policy, ASID and GSTATE, where the reference sheet has them. */
  const status = async () => {
    expectSuccess(await statusInto(result));
    const bytes = on.memory.read(result, 32);
    const view = new DataView(bytes.buffer);
    expect(bytes.slice(0x0d)).toEqual(new Uint8Array(19));
    return [view.getBigUint64(0, true), view.getUint32(8, true), bytes[12]];
  };

  it('follows a guest through its life', async () => {
    on.memory.write(result, new Uint8Array(32).fill(0xee));
    expectSuccess(await on.create());
    expect(await status()).toEqual([0n, 0, 0]);
    expectSuccess(await on.launchStart(plainPolicy | 0x0137n));
    expect(await status()).toEqual([plainPolicy | 0x0137n, 0, 1]);
    expectSuccess(await on.activate(7));
    expect(await status()).toEqual([plainPolicy | 0x0137n, 7, 1]);
    expectSuccess(await on.finish());
    expect(await status()).toEqual([plainPolicy | 0x0137n, 7, 2]);
  });

  it('goes into a Firmware page and into no other', async () => {
    expectSuccess(await on.create());
    expect(await statusInto(plain)).toBe('INVALID_PAGE_STATE');
    expect(await statusInto(context)).toBe('INVALID_PAGE_STATE');
  });
});

describe('ACTIVATE_EX', () => {
  const activateEx = (asid: number, ids: { idCount?: number; idListAddress?: bigint } = {}) =>
    on.call('SNP_ACTIVATE_EX', [snpActivateExBuffer, { gctxAddress: BigInt(context), asid, ...ids }]);
  beforeEach(async () => {
    expectSuccess(await on.create());
    expectSuccess(await on.launchStart());
  });

  it('adds core complexes when it is repeated with the same ASID, and with no other', async () => {
    expect(await activateEx(3)).toBe('SUCCESS');
    expect(await activateEx(3)).toBe('SUCCESS');
    expect(await activateEx(4)).toBe('ACTIVE');
    expect(on.guest().asid).toBe(3);
  });

  it.each<[number, bigint, StatusName]>([
    [4, BigInt(plain), 'SUCCESS'],
    [4, 0x80_0000n - 16n, 'SUCCESS'],
    [4, 0x80_0000n - 15n, 'INVALID_ADDRESS'],
    [0xffff_ffff, 0n, 'INVALID_ADDRESS'],
  ])('takes %i ids from %i: %s', async (idCount, idListAddress, expected) => {
    expect(await activateEx(3, { idCount, idListAddress })).toBe(expected);
    expect(on.guest().asid).toBe(expected === 'SUCCESS' ? 3 : undefined);
  });
});

describe('DECOMMISSION', () => {
  it('makes the Context page a Firmware page again, which a new guest can be made in', async () => {
    await on.newGuest();
    expectSuccess(await on.decommission());
    expect(on.reverseMap.state(context)).toBe('Firmware');
    expect(await on.decommission()).toBe('INVALID_GUEST');
    expect(await on.call('SNP_GCTX_CREATE', [snpGctxBuffer, { gctxAddress: BigInt(context) }])).toBe(
      'SUCCESS',
    );
    expect(on.guest()).toMatchObject({ state: 'INIT', asid: undefined, launch: undefined });
  });

  it('leaves other guests alone', async () => {
    await on.newGuest();
    await on.newGuest({ context: otherContext, asid: 2 });
    expectSuccess(await on.decommission());
    expect(on.launch(otherContext).memoryKey.isZeroed).toBe(false);
    expect(on.processor.snp!.guestOf(2)).toBe(on.guest(otherContext));
    expect(on.processor.snp!.guestOf(1)).toBeUndefined();
  });
});
