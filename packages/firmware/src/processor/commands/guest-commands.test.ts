import { activateExBuffer, copyBuffer, debugDecryptBuffer, debugEncryptBuffer } from '@vouchsafe/sev';
import { beforeEach, describe, expect, it } from 'vitest';
import type { SoftwareMachine } from '../../machine.js';
import {
  expectSuccess,
  places,
  seededRandom,
  TestHypervisor,
  testMachine,
} from '../../testing/hypervisor.js';

/** Milan in this machine: SEV-ES guests take ASIDs 1 to 99, others 100 to 509. */
let machine: SoftwareMachine;
let hypervisor: TestHypervisor;
beforeEach(async () => {
  machine = testMachine();
  hypervisor = new TestHypervisor(machine.host);
  await hypervisor.start('sev-es');
});

describe('address space ids', () => {
  it('are dirty after INIT until the first flush', async () => {
    const fresh = new TestHypervisor(testMachine().host);
    expectSuccess(await fresh.init());
    const handle = await fresh.newGuest(0);
    expect(await fresh.activate(handle, 200)).toBe('DF_FLUSH_REQUIRED');
    expectSuccess(await fresh.call('DF_FLUSH'));
    expect(await fresh.activate(handle, 200)).toBe('SUCCESS');
  });

  it('have ranges for SEV-ES and for other guests', async () => {
    const plain = await hypervisor.newGuest(0);
    const encrypted = await hypervisor.newGuest(4);
    for (const asid of [0, 1, 99, 510, 0xffff_ffff])
      expect(await hypervisor.activate(plain, asid)).toBe('INVALID_ASID');
    for (const asid of [0, 100, 509, 510])
      expect(await hypervisor.activate(encrypted, asid)).toBe('INVALID_ASID');
    expect(await hypervisor.activate(plain, 100)).toBe('SUCCESS');
    expect(await hypervisor.activate(encrypted, 99)).toBe('SUCCESS');
    expect((await hypervisor.guestStatus(plain)).asid).toBe(100);
  });

  it('belong to one guest, and a guest has one', async () => {
    const [a, b] = [await hypervisor.newGuest(0), await hypervisor.newGuest(0)];
    expectSuccess(await hypervisor.activate(a, 200));
    expect(await hypervisor.activate(b, 200)).toBe('ASID_OWNED');
    expect(await hypervisor.activate(a, 201)).toBe('ACTIVE');
    expect(await hypervisor.activate(a, 200)).toBe('ACTIVE');
    expect(await hypervisor.decommission(a)).toBe('ACTIVE');
    expectSuccess(await hypervisor.deactivate(a));
    expect((await hypervisor.guestStatus(a)).asid).toBe(0);
    expect(await hypervisor.activate(b, 200)).toBe('SUCCESS');
  });

  it('of a guest that ran need WBINVD and then DF_FLUSH before another guest takes them', async () => {
    const [a, b] = [await hypervisor.newGuest(0), await hypervisor.newGuest(0)];
    expectSuccess(await hypervisor.activate(a, 200));
    await hypervisor.measurement(a);
    expectSuccess(await hypervisor.finish(a));
    expect(await hypervisor.host.enter({ asid: 200, nestedPages: [] })).toMatchObject({ reason: 'hlt' });
    expectSuccess(await hypervisor.deactivate(a));
    expect(await hypervisor.activate(b, 200)).toBe('DF_FLUSH_REQUIRED');
    expect(await hypervisor.activate(a, 200)).toBe('DF_FLUSH_REQUIRED');
    expect(await hypervisor.call('DF_FLUSH')).toBe('WBINVD_REQUIRED');
    expect(await hypervisor.activate(b, 200)).toBe('DF_FLUSH_REQUIRED');
    await hypervisor.host.writeBackAndInvalidate();
    expect(await hypervisor.activate(b, 200)).toBe('DF_FLUSH_REQUIRED');
    expect(await hypervisor.call('DF_FLUSH')).toBe('SUCCESS');
    expect(await hypervisor.activate(b, 200)).toBe('SUCCESS');
  });

  it('of a guest that never ran stay clean', async () => {
    const [a, b] = [await hypervisor.newGuest(0), await hypervisor.newGuest(0)];
    expectSuccess(await hypervisor.activate(a, 200));
    expectSuccess(await hypervisor.load(a, places.image, new Uint8Array(16)));
    expectSuccess(await hypervisor.deactivate(a));
    expect(await hypervisor.activate(b, 200)).toBe('SUCCESS');
  });

  it('stay dirty when WBINVD came before DEACTIVATE', async () => {
    const a = await hypervisor.newGuest(0);
    expectSuccess(await hypervisor.activate(a, 200));
    await hypervisor.host.writeBackAndInvalidate();
    expectSuccess(await hypervisor.deactivate(a));
    expect(await hypervisor.call('DF_FLUSH')).toBe('WBINVD_REQUIRED');
  });

  it('are all dirty again after SHUTDOWN and INIT', async () => {
    await hypervisor.call('SHUTDOWN');
    expectSuccess(await hypervisor.init());
    expect(await hypervisor.activate(await hypervisor.newGuest(0), 300)).toBe('DF_FLUSH_REQUIRED');
  });

  it('with ACTIVATE_EX: the same one adds core complexes, another one is ACTIVE', async () => {
    const handle = await hypervisor.newGuest(0);
    const list = { idCount: 2, idListAddress: BigInt(places.answer) };
    const activateEx = (asid: number, values: object = {}) =>
      hypervisor.call('ACTIVATE_EX', [activateExBuffer, { handle, asid, ...list, ...values }]);
    expect(await activateEx(200, { length: 0x17 })).toBe('INVALID_LENGTH');
    expect(await activateEx(200, { idListAddress: 0x7f_ffffn })).toBe('INVALID_ADDRESS');
    expect(await activateEx(99)).toBe('INVALID_ASID');
    expect(await activateEx(200)).toBe('SUCCESS');
    expect(await activateEx(200)).toBe('SUCCESS');
    expect(await activateEx(201)).toBe('ACTIVE');
  });
});

describe('GUEST_STATUS', () => {
  it('tells policy, ASID and state, and answers for a handle that nobody has with state 0', async () => {
    const handle = await hypervisor.newGuest(5);
    expectSuccess(await hypervisor.activate(handle, 7));
    expect(await hypervisor.guestStatus(handle)).toMatchObject({ handle, policy: 5, asid: 7, state: 1 });
    await hypervisor.measurement(handle);
    expect((await hypervisor.guestStatus(handle)).state).toBe(2);
    expectSuccess(await hypervisor.finish(handle));
    expect((await hypervisor.guestStatus(handle)).state).toBe(3);
    expect(await hypervisor.guestStatus(33)).toMatchObject({ handle: 33, policy: 0, asid: 0, state: 0 });
  });
});

describe('COPY, DBG_DECRYPT and DBG_ENCRYPT', () => {
  const plaintext = seededRandom('copied')(8192);
  const from: number = places.image;
  const to = places.image + 0x10_000;
  let handle: number;

  async function guestOf(policy: number) {
    handle = await hypervisor.newGuest(policy);
    expectSuccess(await hypervisor.activate(handle, 200));
    expectSuccess(await hypervisor.load(handle, from, plaintext));
  }
  const command = (length = 8192, source = from, destination = to) => ({
    handle,
    length,
    sourceAddress: BigInt(source),
    destinationAddress: BigInt(destination),
  });
  const decrypt = (...values: Parameters<typeof command>) =>
    hypervisor.call('DBG_DECRYPT', [debugDecryptBuffer, command(...values)]);
  const encrypt = (...values: Parameters<typeof command>) =>
    hypervisor.call('DBG_ENCRYPT', [debugEncryptBuffer, command(...values)]);
  const copy = (...values: Parameters<typeof command>) =>
    hypervisor.call('COPY', [copyBuffer, command(...values)]);

  it('show and change a guest’s memory where its policy allows debugging', async () => {
    await guestOf(0);
    expect(await decrypt()).toBe('SUCCESS');
    expect(await hypervisor.host.memory.read(to, 8192)).toEqual(plaintext);
    const patch = new Uint8Array(32).fill(9);
    await hypervisor.host.memory.write(to, patch);
    expect(await encrypt(32, to, from + 64)).toBe('SUCCESS');
    expect(await decrypt(128)).toBe('SUCCESS');
    const patched = plaintext.slice(0, 128);
    patched.set(patch, 64);
    expect(await hypervisor.host.memory.read(to, 128)).toEqual(patched);
  });

  it('are refused under NODBG, and write nothing', async () => {
    await guestOf(1);
    const before = await hypervisor.host.memory.read(from, 8192);
    expect(await decrypt()).toBe('POLICY_FAILURE');
    expect(await encrypt(16, to, from)).toBe('POLICY_FAILURE');
    expect(await hypervisor.host.memory.read(to, 8192)).toEqual(new Uint8Array(8192));
    expect(await hypervisor.host.memory.read(from, 8192)).toEqual(before);
  });

  it('want aligned addresses in memory, and lengths', async () => {
    await guestOf(0);
    expect(await decrypt(16, from + 1, to)).toBe('INVALID_ADDRESS');
    expect(await decrypt(16, from, to + 8)).toBe('INVALID_ADDRESS');
    expect(await decrypt(0)).toBe('INVALID_LENGTH');
    expect(await encrypt(17)).toBe('INVALID_LENGTH');
    expect(await decrypt(32, 0x7f_fff0, to)).toBe('INVALID_ADDRESS');
    expect(await encrypt(16, from, places.trusted)).toBe('INVALID_ADDRESS');
    expect(await decrypt(16, places.trusted, to)).toBe('INVALID_ADDRESS');
    expect(await copy(4096, from + 16, to)).toBe('INVALID_ADDRESS');
    expect(await copy(4096, from, to + 2048)).toBe('INVALID_ADDRESS');
    expect(await copy(100)).toBe('INVALID_LENGTH');
    expect(await copy(0)).toBe('INVALID_LENGTH');
    expect(await copy(4096, from, places.trusted)).toBe('INVALID_ADDRESS');
  });

  it('COPY moves pages without showing them, also where ranges overlap', async () => {
    await guestOf(0);
    expect(await copy()).toBe('SUCCESS');
    expect(await hypervisor.host.memory.read(to, 8192)).not.toEqual(plaintext);
    expect(await decrypt(8192, to, to + 0x10_000)).toBe('SUCCESS');
    expect(await hypervisor.host.memory.read(to + 0x10_000, 8192)).toEqual(plaintext);
    expect(await copy(8192, from, from + 4096)).toBe('SUCCESS');
    expect(await decrypt(8192, from + 4096, to)).toBe('SUCCESS');
    expect(await hypervisor.host.memory.read(to, 8192)).toEqual(plaintext);
  });
});
