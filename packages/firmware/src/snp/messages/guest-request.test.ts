import {
  guestMessageTypes,
  Secret,
  type StatusName,
  sealGuestMessage,
  snpGuestRequestBuffer,
  tscInfoResponse,
} from '@vouchsafe/sev';
import { beforeEach, describe, expect, it } from 'vitest';
import { expectSuccess } from '../../testing/hypervisor.js';
import { SnpHypervisor, snpPlaces } from '../../testing/snp-hypervisor.js';

/** Offsets are those of the reference sheet, section 3.2. */
const at = {
  tag: 0x00,
  sequence: 0x20,
  reserved28: 0x28,
  algorithm: 0x30,
  headerVersion: 0x31,
  headerSize: 0x32,
  type: 0x34,
  version: 0x35,
  size: 0x36,
  reserved38: 0x38,
  vmpck: 0x3c,
  reserved3d: 0x3d,
  payload: 0x60,
} as const;

const tscRequest = new Uint8Array(128);
const { context, otherContext, request, response, result } = snpPlaces;

let on: SnpHypervisor;
beforeEach(async () => {
  on = new SnpHypervisor();
  await on.start();
  await on.runningGuest();
});

/** What a refusal must leave alone: the guest's counters, and the page for the response. */
async function expectRefused(message: Uint8Array, status: StatusName, of: number = context): Promise<void> {
  const counts = [...on.launch(of).messageCounts];
  const page = on.memory.read(response, 4096);
  expect(await on.guestRequest(message, of)).toBe(status);
  expect(on.launch(of).messageCounts).toEqual(counts);
  expect(on.memory.read(response, 4096)).toEqual(page);
}

describe('a guest message', () => {
  it('is answered under the same key, with the next number, and the counter moves by two', async () => {
    for (const vmpck of [0, 1, 2, 3]) {
      for (const round of [1n, 2n]) {
        const payload = await on.exchange('TSC_INFO_REQ', tscRequest, { vmpck });
        expect(tscInfoResponse.parse(payload).status).toBe(0);
        const header = on.memory.read(response, 0x60);
        const view = new DataView(header.buffer);
        expect(view.getBigUint64(at.sequence, true)).toBe(2n * round);
        expect([header[at.type], header[at.version], header[at.vmpck]]).toEqual([18, 1, vmpck]);
        expect(on.launch().messageCounts[vmpck]).toBe(2n * round);
      }
    }
  });

  it.each([
    ['in its tag', at.tag, 'BAD_MEASUREMENT'],
    ['in its payload', at.payload, 'BAD_MEASUREMENT'],
    ['at the end of its payload', at.payload + 127, 'BAD_MEASUREMENT'],
    ['in its number', at.sequence, 'INVALID_PARAM'],
    ['in its algorithm', at.algorithm, 'INVALID_PARAM'],
    ['in its header version', at.headerVersion, 'INVALID_PARAM'],
    ['in its header size', at.headerSize, 'INVALID_PARAM'],
    ['in its version', at.version, 'INVALID_PARAM'],
    ['in its size', at.size, 'INVALID_PARAM'],
    ['in reserved bytes of its tag', at.tag + 16, 'INVALID_PARAM'],
    ['in reserved bytes that are not authenticated', at.reserved28, 'INVALID_PARAM'],
    ['in reserved bytes that are', at.reserved38, 'INVALID_PARAM'],
    ['in its last reserved byte', at.reserved3d + 34, 'INVALID_PARAM'],
  ] as const)('altered %s is refused', async (_where, offset, status) => {
    const message = await on.sealed('TSC_INFO_REQ', tscRequest);
    const changed = message.slice();
    changed[offset]! ^= 1;
    await expectRefused(changed, status);
    expect(await on.guestRequest(message), 'the genuine one, after that').toBe('SUCCESS');
  });

  it('of which a type is made of another is refused: the header is authenticated', async () => {
    const message = await on.sealed('REPORT_REQ', new Uint8Array(96));
    message[at.type] = guestMessageTypes.KEY_REQ;
    message[at.size] = 32;
    await expectRefused(message, 'BAD_MEASUREMENT');
  });

  it('that is replayed, left out or comes too early is refused by its number', async () => {
    const first = await on.sealed('TSC_INFO_REQ', tscRequest);
    const second = await on.sealed('TSC_INFO_REQ', tscRequest, { sequence: 3n });
    await expectRefused(second, 'INVALID_PARAM');
    expect(await on.guestRequest(first)).toBe('SUCCESS');
    await expectRefused(first, 'INVALID_PARAM');
    expect(await on.guestRequest(second)).toBe('SUCCESS');
    await expectRefused(await on.sealed('TSC_INFO_REQ', tscRequest, { sequence: 1n }), 'INVALID_PARAM');
    await expectRefused(await on.sealed('TSC_INFO_REQ', tscRequest, { sequence: 4n }), 'INVALID_PARAM');
  });

  it('under the key of another VMPL, said or not, is refused', async () => {
    const message = await on.sealed('TSC_INFO_REQ', tscRequest, { vmpck: 1 });
    message[at.vmpck] = 0;
    await expectRefused(message, 'BAD_MEASUREMENT');
    message[at.vmpck] = 4;
    await expectRefused(message, 'INVALID_PARAM');
    message[at.vmpck] = 1;
    expect(await on.guestRequest(message)).toBe('SUCCESS');
  });

  it('of another guest is refused', async () => {
    await on.runningGuest({ context: otherContext, asid: 2 });
    const message = await on.sealed('TSC_INFO_REQ', tscRequest);
    await expectRefused(message, 'BAD_MEASUREMENT', otherContext);
    expect(await on.guestRequest(message)).toBe('SUCCESS');
  });

  it('of the host, which has none of the keys, is refused', async () => {
    const key = Secret.take(new Uint8Array(32));
    const channel = { key, vmpck: 0, sequence: 1n, type: 'REPORT_REQ' } as const;
    await expectRefused(
      await sealGuestMessage({ ...channel, payload: new Uint8Array(96) }),
      'BAD_MEASUREMENT',
    );
  });

  it('of an earlier guest in the same Context page is refused', async () => {
    const message = await on.sealed('TSC_INFO_REQ', tscRequest);
    await on.remove();
    await on.runningGuest();
    await expectRefused(message, 'BAD_MEASUREMENT');
  });

  it('is refused when it is a response, a migration agent’s, or of a version that is not there', async () => {
    for (const [type, status] of [
      ['TSC_INFO_RSP', 'INVALID_PARAM'],
      ['REPORT_RSP', 'INVALID_PARAM'],
      ['EXPORT_REQ', 'UNSUPPORTED'],
      ['IMPORT_REQ', 'UNSUPPORTED'],
      ['ABSORB_REQ', 'UNSUPPORTED'],
      ['VMRK_REQ', 'UNSUPPORTED'],
      ['ABSORB_NOMA_REQ', 'UNSUPPORTED'],
    ] as const) {
      await expectRefused(await on.sealed(type, tscRequest), status);
    }
    await expectRefused(await on.sealed('TSC_INFO_REQ', tscRequest, { version: 2 }), 'INVALID_PARAM');
    await expectRefused(await on.sealed('REPORT_REQ', new Uint8Array(96), { version: 0 }), 'INVALID_PARAM');
    const unknown = await on.sealed('TSC_INFO_REQ', tscRequest);
    for (const type of [0, 19, 255]) {
      unknown[at.type] = type;
      await expectRefused(unknown, 'INVALID_PARAM');
    }
  });

  it.each([
    ['TSC_INFO_REQ', 127],
    ['TSC_INFO_REQ', 129],
    ['REPORT_REQ', 95],
    ['REPORT_REQ', 4000],
    ['KEY_REQ', 40],
    ['KEY_REQ', 0],
    ['CPUID_REQ', 15],
    ['CPUID_REQ', 17],
  ] as const)('%s of %i bytes is refused', async (type, length) => {
    await expectRefused(await on.sealed(type, new Uint8Array(length)), 'INVALID_PARAM');
  });

  it('ends with AEAD_OFLOW where numbers would run out, after its tag was right', async () => {
    on.launch().messageCounts[2] = 2n ** 64n - 2n;
    const last = await on.sealed('TSC_INFO_REQ', tscRequest, { vmpck: 2 });
    const altered = last.slice();
    altered[at.payload]! ^= 1;
    await expectRefused(altered, 'BAD_MEASUREMENT');
    await expectRefused(last, 'AEAD_OFLOW');
    on.launch().messageCounts[2] = 2n ** 64n - 4n;
    expect(await on.guestRequest(await on.sealed('TSC_INFO_REQ', tscRequest, { vmpck: 2 }))).toBe('SUCCESS');
  });
});

describe('the response page', () => {
  const submit = (requestAddress: bigint, responseAddress: bigint) =>
    on.call('SNP_GUEST_REQUEST', [
      snpGuestRequestBuffer,
      { gctxAddress: BigInt(context), requestAddress, responseAddress },
    ]);

  it.each([
    ['no page’s address', BigInt(response) + 16n, 'INVALID_ADDRESS'],
    ['beyond memory', 0x80_0000n, 'INVALID_ADDRESS'],
    ['the hypervisor’s', BigInt(snpPlaces.plain), 'INVALID_PAGE_STATE'],
    ['a Context page', BigInt(context), 'INVALID_PAGE_STATE'],
  ] as const)('that is %s is refused', async (_what, address, status) => {
    on.memory.write(request, await on.sealed('TSC_INFO_REQ', tscRequest));
    expect(await submit(BigInt(request), address)).toBe(status);
    expect(await submit(BigInt(request), BigInt(response))).toBe('SUCCESS');
  });

  it('that is a guest’s, this or another, is refused, and its memory stays', async () => {
    on.preGuest(snpPlaces.pages, 0x1000, 7);
    on.memory.write(request, await on.sealed('TSC_INFO_REQ', tscRequest));
    const before = on.memory.read(snpPlaces.pages, 4096);
    expect(await submit(BigInt(request), BigInt(snpPlaces.pages))).toBe('INVALID_PAGE_STATE');
    expect(on.memory.read(snpPlaces.pages, 4096)).toEqual(before);
  });

  it('that is one of 2 MiB is refused by its size', async () => {
    on.rmpUpdate(snpPlaces.pages, { immutable: true, size: '2M' });
    on.memory.write(request, await on.sealed('TSC_INFO_REQ', tscRequest));
    expect(await submit(BigInt(request), BigInt(snpPlaces.pages))).toBe('INVALID_PAGE_SIZE');
  });

  it('and the request page may be one', async () => {
    on.memory.write(result, await on.sealed('TSC_INFO_REQ', tscRequest));
    expectSuccess(await submit(BigInt(result), BigInt(result)));
  });

  it('holds ciphertext: nothing of the guest’s answer is seen by the host', async () => {
    const payload = await on.exchange('REPORT_REQ', new Uint8Array(96));
    const seen = Buffer.from(on.memory.read(response, 4096)).toString('latin1');
    expect(seen).not.toContain(Buffer.from(payload.subarray(0x20, 0x40)).toString('latin1'));
    expect(seen).not.toContain(Buffer.from(on.launch().reportId).toString('latin1'));
  });
});
