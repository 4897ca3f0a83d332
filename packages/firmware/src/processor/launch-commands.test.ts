import {
  buildSecretPacket,
  createLaunchSession,
  digest,
  fromHex,
  launchMeasureBuffer,
  measureLaunch,
  openSecret,
  p384KeyOf,
  parseSevCertificate,
} from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import { places, seededRandom, TestHypervisor, testMachine } from '../testing/hypervisor.js';

describe('a launch', () => {
  it('measures what it encrypts, and opens the packet for this launch', async () => {
    const hypervisor = new TestHypervisor(testMachine().host);
    await hypervisor.start();
    const session = await hypervisor.ownerSession(1);
    const handle = await hypervisor.newGuest(1, { session });
    expect(await hypervisor.activate(handle, 200)).toBe('SUCCESS');
    const image = seededRandom('image')(8192);
    expect(await hypervisor.load(handle, places.image, image)).toBe('SUCCESS');
    const { measurement, mnonce } = await hypervisor.measurement(handle);
    const launchDigest = await digest('sha256', image);
    const expected = await measureLaunch({
      tik: session.tik,
      apiMajor: 1,
      apiMinor: 55,
      buildId: 24,
      policy: 1,
      launchDigest,
      mnonce,
    });
    expect(measurement).toEqual(expected);
    const packet = await buildSecretPacket({
      ...session,
      iv: new Uint8Array(16),
      measurement,
      plaintext: new Uint8Array(64).fill(7),
      apiMajor: 1,
      apiMinor: 55,
    });
    expect(await hypervisor.inject(handle, packet, places.image + 4096)).toBe('SUCCESS');
    expect(await hypervisor.finish(handle)).toBe('SUCCESS');
  });
});
