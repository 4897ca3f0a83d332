import {
  buildSecretPacket,
  debugDecryptBuffer,
  digest,
  launchMeasurementBlob,
  measureLaunch,
  type SevCommandName,
} from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import { createDram, type PhysicalMemory } from '../memory/dram.js';
import { expectSuccess, places, seededRandom, TestHypervisor, testMachine } from '../testing/hypervisor.js';

/**
 * A memory that a hostile host changes under the processor's hands: after the first read of a watched range, reads give
 * other bytes. It counts, so that a test can say how often a command looked.
 */
class ChangingMemory implements PhysicalMemory {
  readonly size: number;
  readonly #inner: PhysicalMemory;
  readonly #reads = new Map<number, number>();
  #watching = false;

  constructor(size: number) {
    this.size = size;
    this.#inner = createDram(size);
  }

  async watch<T>(action: () => Promise<T>): Promise<T> {
    this.#reads.clear();
    this.#watching = true;
    try {
      return await action();
    } finally {
      this.#watching = false;
    }
  }

  /** The largest number of times that any byte was read. */
  get mostReads(): number {
    return Math.max(0, ...this.#reads.values());
  }

  read(address: number, length: number): Uint8Array {
    const bytes = this.#inner.read(address, length);
    if (!this.#watching) return bytes;
    return bytes.map((byte, i) => {
      const times = this.#reads.get(address + i) ?? 0;
      this.#reads.set(address + i, times + 1);
      return times === 0 ? byte : byte ^ 0xff;
    });
  }

  write(address: number, bytes: Uint8Array): void {
    this.#inner.write(address, bytes);
  }
}

describe('a memory that answers differently on the second read', () => {
  const policy = 0;
  const size = 8 * 1024 * 1024;

  async function machineWith(memory: PhysicalMemory) {
    const hypervisor = new TestHypervisor(testMachine({ memory, random: seededRandom('changing') }).host);
    await hypervisor.start('sev-es');
    return hypervisor;
  }

  it('cannot make measured and encrypted content differ', async () => {
    const memory = new ChangingMemory(size);
    const hypervisor = await machineWith(memory);
    const handle = await hypervisor.newGuest(policy);
    expectSuccess(await hypervisor.activate(handle, 200));
    const image = seededRandom('image')(8192);
    await hypervisor.host.memory.write(places.image, image);
    expect(await memory.watch(() => hypervisor.updateData(handle, places.image, image.length))).toBe(
      'SUCCESS',
    );
    expect(memory.mostReads).toBe(1);

    const { measurement, mnonce } = await hypervisor.measurement(handle);
    const launchDigest = await digest('sha256', image);
    const tik = new Uint8Array(16);
    const expected = await measureLaunch({
      apiMajor: 1,
      apiMinor: 55,
      buildId: 24,
      tik,
      policy,
      launchDigest,
      mnonce,
    });
    expect(measurement).toEqual(expected);
    const decrypt = {
      handle,
      sourceAddress: BigInt(places.image),
      destinationAddress: BigInt(places.answer),
      length: 8192,
    };
    expectSuccess(await hypervisor.call('DBG_DECRYPT', [debugDecryptBuffer, decrypt]));
    expect(await hypervisor.host.memory.read(places.answer, 8192)).toEqual(image);
  });

  it('cannot make a command act on other arguments than it checked: every command reads each byte once', async () => {
    const memory = new ChangingMemory(size);
    const hypervisor = new TestHypervisor(testMachine({ memory, random: seededRandom('once') }).host);
    const seen: [SevCommandName, number][] = [];
    const watched = async (name: SevCommandName, action: () => Promise<string>) => {
      expect([name, await memory.watch(action)]).toEqual([name, 'SUCCESS']);
      seen.push([name, memory.mostReads]);
    };
    await watched('INIT', () => hypervisor.init('sev-es'));
    await hypervisor.flush();
    const session = await hypervisor.ownerSession(5);
    await watched('LAUNCH_START', () => hypervisor.launchStart(5, { session }));
    await watched('ACTIVATE', () => hypervisor.activate(1, 9));
    await watched('LAUNCH_UPDATE_DATA', () => hypervisor.load(1, places.image, new Uint8Array(4096)));
    await watched('LAUNCH_UPDATE_VMSA', () => hypervisor.loadVmsa(1, new Uint8Array(4096)));
    await watched('LAUNCH_MEASURE', () => hypervisor.measure(1));
    const { measurement } = launchMeasurementBlob.parse(
      await hypervisor.host.memory.read(places.answer, 0x30),
    );
    const packet = await buildSecretPacket({
      ...session,
      apiMajor: 1,
      apiMinor: 55,
      measurement,
      iv: new Uint8Array(16),
      plaintext: new Uint8Array(64),
    });
    await watched('LAUNCH_SECRET', () => hypervisor.inject(1, packet, places.image));
    await watched('LAUNCH_FINISH', () => hypervisor.finish(1));
    expect(seen.filter(([, reads]) => reads !== 1)).toEqual([]);
  });

  it('cannot pass a session whose MACs were made for other bytes', async () => {
    const memory = new ChangingMemory(size);
    const hypervisor = await machineWith(memory);
    const session = await hypervisor.ownerSession(1);
    const wrong = { ...session, session: session.session.map((byte) => byte ^ 0xff) };
    expect(await memory.watch(() => hypervisor.launchStart(1, { session: wrong }))).toBe('BAD_MEASUREMENT');
  });
});
