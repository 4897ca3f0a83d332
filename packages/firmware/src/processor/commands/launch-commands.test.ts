import {
  attestationBuffer,
  concat,
  digest,
  initBuffer,
  launchFinishBuffer,
  launchMeasureBuffer,
  launchMeasurementBlob,
  launchStartBuffer,
  launchUpdateVmsaBuffer,
  measureLaunch,
  Secret,
  sevCommands,
  toHex,
} from '@vouchsafe/sev';
import { beforeEach, describe, expect, it } from 'vitest';
import { manufactureChip } from '../../identity/chip.js';
import { createDram } from '../../memory/dram.js';
import { machineProfiles } from '../../profiles.js';
import {
  expectSuccess,
  places,
  seededRandom,
  statusOf,
  TestHypervisor,
  testMachine,
} from '../../testing/hypervisor.js';
import { Processor } from '../processor.js';

const api = { apiMajor: 1, apiMinor: 55 };

let hypervisor: TestHypervisor;
beforeEach(async () => {
  hypervisor = new TestHypervisor(testMachine().host);
  await hypervisor.start('sev-es');
});

describe('LAUNCH_UPDATE_DATA and LAUNCH_UPDATE_VMSA', () => {
  it('want aligned addresses in memory and whole granules', async () => {
    const handle = await hypervisor.newGuest(4);
    expectSuccess(await hypervisor.activate(handle, 1));
    expect(await hypervisor.updateData(handle, places.image + 8, 16)).toBe('INVALID_ADDRESS');
    expect(await hypervisor.updateData(handle, places.image, 0)).toBe('INVALID_LENGTH');
    expect(await hypervisor.updateData(handle, places.image, 24)).toBe('INVALID_LENGTH');
    expect(await hypervisor.updateData(handle, 0x80_0000, 16)).toBe('INVALID_ADDRESS');
    expect(await hypervisor.updateData(handle, 0x7f_fff0, 32)).toBe('INVALID_ADDRESS');
    expect(await hypervisor.updateData(handle, places.trusted, 16)).toBe('INVALID_ADDRESS');
    expect(await hypervisor.updateData(handle, places.trusted - 16, 32)).toBe('INVALID_ADDRESS');
    const vmsa = (address: number, length: number) =>
      hypervisor.call('LAUNCH_UPDATE_VMSA', [
        launchUpdateVmsaBuffer,
        { handle, address: BigInt(address), length },
      ]);
    expect(await vmsa(places.vmsa, 2048)).toBe('INVALID_LENGTH');
    expect(await vmsa(places.vmsa, 8192)).toBe('INVALID_LENGTH');
    expect(await vmsa(places.vmsa + 1, 4096)).toBe('INVALID_ADDRESS');
    expect(await vmsa(places.trusted, 4096)).toBe('INVALID_ADDRESS');
    const { measurement, mnonce } = await hypervisor.measurement(handle);
    const nothing = { tik: new Uint8Array(16), policy: 4, launchDigest: await digest('sha256'), mnonce };
    expect(measurement).toEqual(await measureLaunch({ ...api, buildId: 24, ...nothing }));
  });

  it('add to the digest in the order of the commands, the VMSA as the host gave it', async () => {
    const random = seededRandom('pages');
    const [a, b, page] = [random(32), random(4096), random(4096)];
    const handle = await hypervisor.newGuest(4);
    expectSuccess(await hypervisor.activate(handle, 1));
    expectSuccess(await hypervisor.load(handle, places.image + 4096, b));
    expectSuccess(await hypervisor.loadVmsa(handle, page));
    expectSuccess(await hypervisor.load(handle, places.image, a));
    const { measurement, mnonce } = await hypervisor.measurement(handle);
    const launchDigest = await digest('sha256', concat(b, page, a));
    const zeros = { tik: new Uint8Array(16), policy: 4, launchDigest, mnonce };
    expect(measurement).toEqual(await measureLaunch({ ...api, buildId: 24, ...zeros }));
  });
});

describe('LAUNCH_MEASURE', () => {
  it('with too little room fills in the length, draws nothing, and measuring goes on', async () => {
    const handle = await hypervisor.newGuest(0);
    expectSuccess(await hypervisor.activate(handle, 200));
    expect(await hypervisor.measure(handle, 0x2f)).toBe('INVALID_LENGTH');
    expect((await hypervisor.answer(launchMeasureBuffer)).length).toBe(0x30);
    const outside = { handle, address: 0x7f_fff0n, length: 0x30 };
    expect(await hypervisor.call('LAUNCH_MEASURE', [launchMeasureBuffer, outside])).toBe('INVALID_ADDRESS');
    expect(await hypervisor.load(handle, places.image, new Uint8Array(16))).toBe('SUCCESS');
    expect(await hypervisor.measure(handle, 0x100)).toBe('SUCCESS');
    expect((await hypervisor.answer(launchMeasureBuffer)).length).toBe(0x30);
  });

  it('needs no ASID', async () => {
    expect(await hypervisor.measure(await hypervisor.newGuest(0))).toBe('SUCCESS');
  });

  it('draws a new nonce each time, so that no two launches measure alike', async () => {
    const blobs = new Set<string>();
    for (let i = 0; i < 3; i++) {
      const { measurement } = await hypervisor.measurement(await hypervisor.newGuest(0));
      blobs.add(toHex(measurement));
    }
    expect(blobs.size).toBe(3);
  });

  it('follows the older form before API 0.17', async () => {
    const old = { apiMajor: 0, apiMinor: 16 };
    const on = new TestHypervisor(testMachine({ profile: { api: old } }).host);
    await on.start();
    const { measurement, mnonce } = await on.measurement(await on.newGuest(0));
    const zeros = { tik: new Uint8Array(16), policy: 0, launchDigest: await digest('sha256'), mnonce };
    expect(measurement).toEqual(await measureLaunch({ ...old, buildId: 24, ...zeros }));
    expect(measurement).not.toEqual(await measureLaunch({ ...api, buildId: 24, ...zeros }));
  });
});

describe('LAUNCH_FINISH', () => {
  it('leaves nothing of the transport keys', async () => {
    const random = seededRandom('finish');
    const memory = createDram(8 * 1024 * 1024);
    const processor = new Processor({
      profile: machineProfiles.milan,
      chip: manufactureChip({ random }),
      random,
      memory,
    });
    const submit = async (name: keyof typeof sevCommands, bytes: Uint8Array) => {
      memory.write(places.buffer, bytes);
      expect(statusOf(await processor.submit(sevCommands[name], places.buffer))).toBe('SUCCESS');
    };
    await submit('INIT', initBuffer.build({ flags: { encryptedState: false } }));
    await submit('LAUNCH_START', launchStartBuffer.build({ policy: 0 }));
    const guest = processor.session.guests.named(1);
    const { tek, tik } = guest.channel;
    expect([tek, tik].every((key) => key instanceof Secret && !key.isZeroed)).toBe(true);
    await submit(
      'LAUNCH_MEASURE',
      launchMeasureBuffer.build({ handle: 1, address: BigInt(places.answer), length: 0x30 }),
    );
    await submit('LAUNCH_FINISH', launchFinishBuffer.build({ handle: 1 }));
    expect([tek.isZeroed, tik.isZeroed]).toEqual([true, true]);
    const { memoryKey } = guest;
    processor.end();
    expect(memoryKey.isZeroed).toBe(true);
  });
});

describe('ATTESTATION', () => {
  it('with too little room fills in the length', async () => {
    const handle = await hypervisor.newGuest(0);
    await hypervisor.measurement(handle);
    const request = { handle, address: BigInt(places.answer), mnonce: new Uint8Array(16), length: 0xcf };
    expect(await hypervisor.call('ATTESTATION', [attestationBuffer, request])).toBe('INVALID_LENGTH');
    expect((await hypervisor.answer(attestationBuffer)).length).toBe(0xd0);
    expect(launchMeasurementBlob.size).toBe(0x30);
  });
});
