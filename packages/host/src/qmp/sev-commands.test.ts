import { UnavailableError } from '@vouchsafe/sev';
import { expect, test } from 'vitest';
import type { ConfidentialMachine } from '../launch/launcher.js';
import type { Platform } from '../platform/platform.js';
import { sevCommandsOf } from './sev-commands.js';

const injecting = (failure: UnavailableError) => {
  const machine = {
    information: async () => ({ state: 'launch-secret' }),
    injectSecret: async () => {
      throw failure;
    },
  } as unknown as ConfidentialMachine;
  const capabilities = { cBitPosition: 51, reducedPhysBits: 5 };
  const commands = sevCommandsOf({ platform: {} as Platform, capabilities, machine });
  return commands['sev-inject-launch-secret']!.run({ 'packet-header': 'AAAA', secret: 'AAAA', gpa: 4096 });
};

test.each([
  ['guest memory', 'SEV: Failed to calculate guest address: No memory is mapped at address 0x1000'],
  ['firmware', 'SEV: no secret area found in OVMF, gpa must be specified.'],
  ['virtual machine', 'virtual machine: it has been quit'],
])('a secret that finds no place in the %s is refused in the words that fit', async (what, text) => {
  await expect(injecting(new UnavailableError(what, 'it has been quit'))).rejects.toThrow(text);
});
