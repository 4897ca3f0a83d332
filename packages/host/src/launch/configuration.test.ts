import { InvalidArgumentError } from '@vouchsafe/sev';
import { describe, expect, test } from 'vitest';
import { requireLaunchable } from './configuration.js';
import type { LaunchConfiguration } from './launcher.js';

const channel = { godhCertificate: new Uint8Array(0x824), session: new Uint8Array(0x80) };
const launchable: LaunchConfiguration = {
  mode: 'sev',
  policy: 0x1,
  channel,
  firmware: new Uint8Array(4096),
  vcpus: 1,
  vcpuSignature: 0xa00f11,
  memory: 8192,
};

/** The argument that is named in the refusal of a configuration with these changes. */
function refused(changes: Partial<LaunchConfiguration>): string {
  try {
    requireLaunchable({ ...launchable, ...changes });
  } catch (error) {
    if (error instanceof InvalidArgumentError) return error.argument;
    throw error;
  }
  return 'nothing';
}

describe('a launch configuration', () => {
  test('that holds together is given back', () => {
    expect(requireLaunchable(launchable)).toBe(launchable);
    expect(refused({ policy: 0x5, mode: 'sev-es' })).toBe('nothing');
  });

  test.each<[string, Partial<LaunchConfiguration>]>([
    ['launch mode', { mode: 'sev-es' }],
    ['launch mode', { policy: 0x5 }],
    ['Diffie-Hellman certificate', { channel: { ...channel, godhCertificate: new Uint8Array(0x823) } }],
    ['session', { channel: { ...channel, session: new Uint8Array(0x81) } }],
    ['firmware', { firmware: new Uint8Array(0) }],
    ['firmware', { firmware: new Uint8Array(4095) }],
    ['vCPUs', { vcpus: 0 }],
    ['vCPUs', { vcpus: 1.5 }],
    ['memory', { memory: 0 }],
    ['memory', { memory: -4096 }],
    ['memory', { memory: 4097 }],
    ['memory', { memory: 4096.5 }],
  ])('is refused for its %s', (argument, changes) => {
    expect(refused(changes)).toBe(argument);
  });
});
