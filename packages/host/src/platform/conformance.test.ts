import { expect, test } from 'vitest';
import { kernelDevice } from '../testing/kernel-device.js';
import { platformConformance } from '../testing/platform-conformance.js';
import { softwareHost } from '../testing/software-host.js';
import { linuxPlatform } from './linux.js';
import { softwarePlatform } from './software.js';

platformConformance('software', softwarePlatform);
platformConformance('linux', (machine) => linuxPlatform('/dev/sev', kernelDevice(machine)));

test('over a device opened for reading only, what changes the platform asks for more', async () => {
  const { machine, chipId } = await softwareHost();
  const platform = linuxPlatform('/dev/sev', kernelDevice(machine, { writable: false }));
  expect(await platform.chipId()).toEqual(chipId);
  for (const refused of [() => platform.rotate(), () => platform.reset(), () => platform.signingRequest()]) {
    await expect(refused()).rejects.toThrow(/needs the device open for writing/);
  }
});

test('the Linux backend leaves nothing behind in memory', async () => {
  const { machine } = await softwareHost();
  const device = kernelDevice(machine);
  const platform = linuxPlatform('/dev/sev', device);
  await platform.export();
  await platform.signingRequest();
  expect(device.memory.inUse).toBe(0);
});
