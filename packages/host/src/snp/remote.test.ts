import { join } from 'node:path';
import {
  connectGuest,
  connectHost,
  createSoftwareMachine,
  manufactureChip,
  serveMachine,
} from '@vouchsafe/firmware';
import { guestFirmwareProgram } from '@vouchsafe/guest';
import { calculateSnpLaunchDigest, parseSnpReport, systemRandom } from '@vouchsafe/sev';
import { expect, onTestFinished, test } from 'vitest';
import { temporaryFolder } from '../../../kds/src/testing/temporary.js';
import { deferred } from '../deferred.js';
import { softwareLauncher } from '../launch/software-launcher.js';
import { snpConfiguration } from '../testing/snp-fixture.js';

test('host, machine and guest in processes of their own: the launch is the same over sockets', async () => {
  const chip = manufactureChip({ random: systemRandom, generation: 'milan' });
  const machine = createSoftwareMachine({ chip, random: systemRandom, memory: 16 * 1024 * 1024 });
  const folder = temporaryFolder();
  const served = await serveMachine(machine, {
    hostSocket: join(folder, 'host'),
    guestSocket: join(folder, 'guest'),
  });
  const found = deferred<Uint8Array>();
  const program = guestFirmwareProgram({
    async init({ attestation }) {
      found.resolve((await attestation!.report({ reportData: new Uint8Array(64) })).report);
    },
    onFailure: found.reject,
  });
  const guest = await connectGuest(join(folder, 'guest'), program, (error) => found.reject(error as Error));
  const host = await connectHost(join(folder, 'host'));
  onTestFinished(async () => {
    guest.close();
    await host.close();
    await served.close();
    await machine.close();
  });

  const launched = await softwareLauncher(host).launchSnp({ ...snpConfiguration, memory: 0x11_4000 });
  await launched.resume();
  const { measurement } = parseSnpReport(await found.promise);
  expect(measurement).toEqual((await calculateSnpLaunchDigest(snpConfiguration)).digest);
  await launched.quit();
});
