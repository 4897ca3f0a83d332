import {
  buildSecretPacket,
  concat,
  hmacSha256,
  type LaunchSession,
  launchSecretBuffer,
  u32le,
} from '@vouchsafe/sev';
import { beforeEach, describe, expect, it } from 'vitest';
import { expectSuccess, places, TestHypervisor, testMachine } from '../../testing/hypervisor.js';

const api = { apiMajor: 1, apiMinor: 55 };
const noDebug = 1;

let hypervisor: TestHypervisor;
beforeEach(async () => {
  hypervisor = new TestHypervisor(testMachine().host);
  await hypervisor.start('sev-es');
});

describe('LAUNCH_SECRET', () => {
  let handle: number;
  let session: LaunchSession;
  let measurement: Uint8Array;
  const plaintext = new Uint8Array(64).fill(0x5e);

  beforeEach(async () => {
    session = await hypervisor.ownerSession(noDebug);
    handle = await hypervisor.newGuest(noDebug, { session });
    expectSuccess(await hypervisor.activate(handle, 200));
    measurement = (await hypervisor.measurement(handle)).measurement;
  });
  const packet = (values: Partial<Parameters<typeof buildSecretPacket>[0]> = {}) =>
    buildSecretPacket({ ...session, ...api, measurement, iv: new Uint8Array(16), plaintext, ...values });

  it('takes up to 16 KiB', async () => {
    expect(
      await hypervisor.inject(handle, await packet({ plaintext: new Uint8Array(16384) }), places.image),
    ).toBe('SUCCESS');
    const large = { header: (await packet()).header, payload: new Uint8Array(16400) };
    expect(await hypervisor.inject(handle, large, places.image)).toBe('INVALID_LENGTH');
  });

  it('checks lengths before the guest’s state, and the state before the packet', async () => {
    const good = await packet();
    const send = async (values: Partial<Parameters<typeof launchSecretBuffer.build>[0]>) => {
      await hypervisor.host.memory.write(places.header, good.header);
      await hypervisor.host.memory.write(places.payload, good.payload);
      const command = {
        handle,
        headerAddress: BigInt(places.header),
        headerLength: 0x34,
        guestAddress: BigInt(places.image),
        guestLength: 64,
        transportAddress: BigInt(places.payload),
        transportLength: 64,
        ...values,
      };
      return hypervisor.call('LAUNCH_SECRET', [launchSecretBuffer, command]);
    };
    const bad: Partial<Parameters<typeof launchSecretBuffer.build>[0]>[] = [
      { headerLength: 0x33 },
      { headerLength: 0x35 },
      { guestLength: 0, transportLength: 0 },
      { guestLength: 63, transportLength: 63 },
      { guestLength: 48 },
      { transportLength: 80 },
      { guestLength: 16400, transportLength: 16400 },
    ];
    expectSuccess(await hypervisor.finish(handle));
    for (const values of bad) expect(await send(values)).toBe('INVALID_LENGTH');
    expect(await send({ guestAddress: BigInt(places.image + 8), headerLength: 1 })).toBe('INVALID_ADDRESS');
    expect(await send({ handle: 77, headerLength: 1 })).toBe('INVALID_GUEST');
    expect(await send({})).toBe('INVALID_GUEST_STATE');
  });

  it('refuses a packet that was altered anywhere', async () => {
    const good = await packet();
    for (let at = 0; at < 0x34; at++) {
      const header = good.header.slice();
      header[at]! ^= 0x10;
      expect(await hypervisor.inject(handle, { ...good, header }, places.image)).toBe('BAD_MEASUREMENT');
    }
    for (const at of [0, 17, 63]) {
      const payload = good.payload.slice();
      payload[at]! ^= 1;
      expect(await hypervisor.inject(handle, { ...good, payload }, places.image)).toBe('BAD_MEASUREMENT');
    }
    const cut = { ...good, payload: good.payload.slice(0, 48) };
    expect(await hypervisor.inject(handle, cut, places.image)).toBe('BAD_MEASUREMENT');
    expect(await hypervisor.inject(handle, good, places.image)).toBe('SUCCESS');
  });

  it('refuses a packet for another launch: another measurement under the same keys', async () => {
    const second = await hypervisor.newGuest(noDebug, { session });
    expectSuccess(await hypervisor.activate(second, 201));
    await hypervisor.measurement(second);
    expect(await hypervisor.inject(second, await packet(), places.image)).toBe('BAD_MEASUREMENT');
  });

  it('accepts it before API 0.17, where packets do not cover the measurement (limit)', async () => {
    const old = { apiMajor: 0, apiMinor: 16 };
    hypervisor = new TestHypervisor(testMachine({ profile: { api: old } }).host);
    await hypervisor.start();
    session = await hypervisor.ownerSession(noDebug);
    for (const asid of [200, 201]) {
      const guest = await hypervisor.newGuest(noDebug, { session });
      expectSuccess(await hypervisor.activate(guest, asid));
      await hypervisor.measurement(guest);
      expect(await hypervisor.inject(guest, await packet(old), places.image)).toBe('SUCCESS');
    }
  });

  it('accepts the same packet again, and at another address (limit): nothing in it says where or how often', async () => {
    const good = await packet();
    expect(await hypervisor.inject(handle, good, places.image)).toBe('SUCCESS');
    expect(await hypervisor.inject(handle, good, places.image)).toBe('SUCCESS');
    expect(await hypervisor.inject(handle, good, places.image + 0x2000)).toBe('SUCCESS');
  });

  it('is refused before LAUNCH_MEASURE and after LAUNCH_FINISH', async () => {
    const early = await hypervisor.newGuest(noDebug);
    expectSuccess(await hypervisor.activate(early, 202));
    expect(await hypervisor.inject(early, await packet(), places.image)).toBe('INVALID_GUEST_STATE');
    expectSuccess(await hypervisor.finish(handle));
    expect(await hypervisor.inject(handle, await packet(), places.image)).toBe('INVALID_GUEST_STATE');
  });

  it('refuses compressed packets that are genuine', async () => {
    const good = await packet();
    const flags = u32le(1);
    const length = u32le(good.payload.length);
    const iv = good.header.slice(4, 20);
    const mac = await hmacSha256(
      session.tik,
      Uint8Array.of(1),
      flags,
      iv,
      length,
      length,
      good.payload,
      measurement,
    );
    const compressed = { ...good, header: concat(flags, iv, mac) };
    expect(await hypervisor.inject(handle, compressed, places.image)).toBe('UNSUPPORTED');
  });
});
