import { InvalidArgumentError } from '@vouchsafe/sev';
import { describe, expect, test } from 'vitest';
import { requireLaunchable, requireSnpLaunchable } from './configuration.js';
import type { LaunchConfiguration, SnpLaunchConfiguration } from './launcher.js';

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
const refused = (changes: Partial<LaunchConfiguration>) =>
  refusedArgument(() => requireLaunchable({ ...launchable, ...changes }));

function refusedArgument(work: () => unknown): string {
  try {
    work();
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

describe('a launch configuration of SEV-SNP', () => {
  const idBlock = { block: new Uint8Array(96), authentication: new Uint8Array(4096) };
  const { channel: _channel, ...common } = launchable;
  const snp: SnpLaunchConfiguration = {
    ...common,
    mode: 'snp',
    policy: 0x30000n,
    idBlock,
    hostData: new Uint8Array(32),
    guestVisibleWorkarounds: new Uint8Array(16),
    certificateTable: new Uint8Array(0x4000),
  };

  test('that holds together is given back; its policy is for the processor to judge', () => {
    expect(requireSnpLaunchable(snp)).toBe(snp);
    expect(refusedArgument(() => requireSnpLaunchable({ ...snp, policy: 0n }))).toBe('nothing');
  });

  test.each<[string, Partial<SnpLaunchConfiguration>]>([
    ['policy', { policy: -1n }],
    ['policy', { policy: 1n << 64n }],
    ['ID block', { idBlock: { ...idBlock, block: new Uint8Array(95) } }],
    ['ID authentication information', { idBlock: { ...idBlock, authentication: new Uint8Array(4097) } }],
    ['host data', { hostData: new Uint8Array(31) }],
    ['guest-visible workarounds', { guestVisibleWorkarounds: new Uint8Array(17) }],
    ['certificate table', { certificateTable: new Uint8Array(0x4001) }],
    ['firmware', { firmware: new Uint8Array(4095) }],
    ['vCPUs', { vcpus: 0 }],
    ['memory', { memory: 4097 }],
  ])('is refused for its %s', (argument, changes) => {
    expect(refusedArgument(() => requireSnpLaunchable({ ...snp, ...changes }))).toBe(argument);
  });
});
