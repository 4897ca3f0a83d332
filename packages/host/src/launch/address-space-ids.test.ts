import type { HostMachine } from '@vouchsafe/firmware/mailbox';
import { buildGuestPolicy, sevCommands } from '@vouchsafe/sev';
import { expect, test } from 'vitest';
import { softwareHost } from '../testing/software-host.js';
import { softwareLauncher } from './software-launcher.js';

const configuration = {
  mode: 'sev',
  policy: buildGuestPolicy({ noDebug: true, noKeySharing: true, noSend: true }),
  firmware: new Uint8Array(4096),
  vcpus: 1,
  vcpuSignature: 0xa00f11,
  memory: 4096,
} as const;

/** Lets everything else that is under way take its turns. */
async function others(turns: number): Promise<void> {
  for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
}

test('a guest that ends while another one’s caches are flushed does not make the flush fail', async () => {
  const { machine } = await softwareHost();
  let betweenWritingBackAndFlush: (() => void) | undefined;
  const slow: HostMachine = {
    ...machine,
    async writeBackAndInvalidate() {
      await others(60);
      await machine.writeBackAndInvalidate();
      betweenWritingBackAndFlush?.();
      betweenWritingBackAndFlush = undefined;
    },
    async submit(command, address) {
      if (command === sevCommands.DF_FLUSH) await others(30);
      return machine.submit(command, address);
    },
  };
  const launcher = softwareLauncher(slow);
  const [first, second] = await Promise.all([launcher.launch(configuration), launcher.launch(configuration)]);
  expect(first.asid).not.toBe(second.asid);
  const secondEnds = new Promise<void>((resolve) => {
    betweenWritingBackAndFlush = () => resolve(second.quit());
  });
  await first.quit();
  await secondEnds;
});
