import { InvalidArgumentError } from '../errors.js';
import type { FirmwareFooter } from './firmware-footer.js';

/** Far above what KVM runs; without a bound a wrong number would fill the memory with pages. */
export const mostVcpus = 4096;

/** @throws InvalidArgumentError for anything but a whole number from 1 to {@link mostVcpus} */
export function requireVcpuCount(vcpus: number | undefined): number {
  if (vcpus === undefined || !Number.isInteger(vcpus) || vcpus < 1 || vcpus > mostVcpus) {
    throw new InvalidArgumentError(
      'vCPUs',
      `expected a number from 1 to ${mostVcpus}, found ${vcpus ?? 'none'}`,
    );
  }
  return vcpus;
}

/** @throws InvalidArgumentError when only one vCPU can start */
export function requireResetAddress({ resetAddress }: FirmwareFooter): number {
  if (resetAddress === undefined) {
    throw new InvalidArgumentError(
      'vCPUs',
      'the firmware names no reset address for application CPUs: only one vCPU can start',
      { hint: 'use a firmware with a SEV-ES reset block, or one vCPU' },
    );
  }
  return resetAddress;
}
