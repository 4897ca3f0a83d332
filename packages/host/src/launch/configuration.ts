import { InvalidArgumentError, parseGuestPolicy } from '@vouchsafe/sev';
import type { LaunchConfiguration } from './launcher.js';

const pageSize = 4096;
const certificateSize = 0x824;
const sessionSize = 0x80;

/**
 * Finds what no hypervisor could launch, before anything is asked of the processor. What the processor judges is left
 * to it.
 * @throws InvalidArgumentError
 */
export function requireLaunchable(configuration: LaunchConfiguration): LaunchConfiguration {
  const { mode, policy, channel, firmware, vcpus, memory } = configuration;
  if (parseGuestPolicy(policy).encryptedState !== (mode === 'sev-es')) {
    const shown = `0x${policy.toString(16)}`;
    throw new InvalidArgumentError(
      'launch mode',
      `${mode} does not go with policy ${shown}: bit 2 (ES) decides`,
    );
  }
  if (channel !== undefined) {
    requireLength('Diffie-Hellman certificate', channel.godhCertificate, certificateSize);
    requireLength('session', channel.session, sessionSize);
  }
  if (firmware.length === 0 || firmware.length % pageSize !== 0) {
    throw new InvalidArgumentError('firmware', `expected a multiple of 4096 bytes, found ${firmware.length}`);
  }
  if (!Number.isInteger(vcpus) || vcpus < 1) {
    throw new InvalidArgumentError('vCPUs', `expected 1 or more, found ${vcpus}`);
  }
  if (memory !== undefined && (!Number.isInteger(memory) || memory <= 0 || memory % pageSize !== 0)) {
    throw new InvalidArgumentError('memory', `expected a multiple of 4096 bytes, found ${memory}`);
  }
  return configuration;
}

function requireLength(name: string, bytes: Uint8Array, length: number): void {
  if (bytes.length !== length) {
    throw new InvalidArgumentError(name, `expected ${length} bytes, found ${bytes.length}`);
  }
}
