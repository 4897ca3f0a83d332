import { InvalidArgumentError, idAuthentication, idBlock, parseGuestPolicy } from '@vouchsafe/sev';
import type { CommonLaunchConfiguration, LaunchConfiguration, SnpLaunchConfiguration } from './launcher.js';

const pageSize = 4096;
const certificateSize = 0x824;
const sessionSize = 0x80;
const hostDataSize = 32;
const workaroundsSize = 16;

/**
 * Finds what no hypervisor could launch, before anything is asked of the processor. What the processor judges is left
 * to it.
 * @throws InvalidArgumentError
 */
export function requireLaunchable(configuration: LaunchConfiguration): LaunchConfiguration {
  const { mode, policy, channel } = configuration;
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
  requireCommon(configuration);
  return configuration;
}

/**
 * The same for SEV-SNP.
 * @throws InvalidArgumentError
 */
export function requireSnpLaunchable(configuration: SnpLaunchConfiguration): SnpLaunchConfiguration {
  const { policy, idBlock: signed, hostData, guestVisibleWorkarounds, certificateTable } = configuration;
  if (BigInt.asUintN(64, policy) !== policy) {
    throw new InvalidArgumentError('policy', 'expected an unsigned number of 64 bits');
  }
  if (signed !== undefined) {
    requireLength('ID block', signed.block, idBlock.size);
    requireLength('ID authentication information', signed.authentication, idAuthentication.size);
  }
  if (hostData !== undefined) requireLength('host data', hostData, hostDataSize);
  if (guestVisibleWorkarounds !== undefined) {
    requireLength('guest-visible workarounds', guestVisibleWorkarounds, workaroundsSize);
  }
  if (certificateTable !== undefined && certificateTable.length > largestCertificateTable) {
    throw new InvalidArgumentError(
      'certificate table',
      `expected at most ${largestCertificateTable} bytes, found ${certificateTable.length}`,
    );
  }
  requireCommon(configuration);
  return configuration;
}

/** As much as a Linux guest makes room for (SEV_FW_BLOB_MAX_SIZE). */
const largestCertificateTable = 0x4000;

function requireCommon({ firmware, vcpus, memory }: CommonLaunchConfiguration): void {
  if (firmware.length === 0 || firmware.length % pageSize !== 0) {
    throw new InvalidArgumentError('firmware', `expected a multiple of 4096 bytes, found ${firmware.length}`);
  }
  if (!Number.isInteger(vcpus) || vcpus < 1) {
    throw new InvalidArgumentError('vCPUs', `expected 1 or more, found ${vcpus}`);
  }
  if (memory !== undefined && (!Number.isInteger(memory) || memory <= 0 || memory % pageSize !== 0)) {
    throw new InvalidArgumentError('memory', `expected a multiple of 4096 bytes, found ${memory}`);
  }
}

function requireLength(name: string, bytes: Uint8Array, length: number): void {
  if (bytes.length !== length) {
    throw new InvalidArgumentError(name, `expected ${length} bytes, found ${bytes.length}`);
  }
}
