import { buildResetVmsa } from '@vouchsafe/sev';
import type { GuestProgram } from '../guest-view.js';
import type { SoftwareMachine } from '../machine.js';
import { expectSuccess, places, TestHypervisor, testMachine } from './hypervisor.js';

export const image = new TextEncoder().encode('sixteen bytes!! '.repeat(512));
export const resetVmsa = (cpu: 'boot' | 'application' = 'boot') =>
  buildResetVmsa({ vcpuSignature: 0xa00f11, cpu, resetAddress: 0x80_b004, fpu: 'zero' });
export const nestedPages = [
  { guestAddress: 0, systemAddress: places.image, length: 0x8000 },
  { guestAddress: 0x10_0000, systemAddress: places.ghcb, length: 0x4000 },
];
/** Guest address of memory that guest and host share. */
export const sharedPage = 0x10_0000;

export interface Running {
  readonly machine: SoftwareMachine;
  readonly hypervisor: TestHypervisor;
  readonly handle: number;
  readonly control: { asid: number; nestedPages: typeof nestedPages; vmsaAddress?: number };
}

interface LaunchOptions {
  readonly policy?: number;
  readonly finish?: boolean;
  readonly page?: Uint8Array;
  readonly failures?: unknown[];
}

/** A machine with a guest that was launched with `image`, and whose programs run this one. */
export async function launched(
  mode: 'sev' | 'sev-es',
  program: GuestProgram,
  options: LaunchOptions = {},
): Promise<Running> {
  const { failures = [], finish = true, policy = mode === 'sev-es' ? 5 : 1 } = options;
  const machine = testMachine({ guestFailed: (error) => failures.push(error) });
  machine.insertGuest(program);
  const hypervisor = new TestHypervisor(machine.host);
  await hypervisor.start(mode);
  const handle = await hypervisor.newGuest(policy);
  const asid = mode === 'sev-es' ? 9 : 200;
  expectSuccess(await hypervisor.activate(handle, asid));
  expectSuccess(await hypervisor.load(handle, places.image, image));
  if (mode === 'sev-es') expectSuccess(await hypervisor.loadVmsa(handle, options.page ?? resetVmsa()));
  await hypervisor.measurement(handle);
  if (finish) expectSuccess(await hypervisor.finish(handle));
  return {
    machine,
    hypervisor,
    handle,
    control: { asid, nestedPages, ...(mode === 'sev-es' ? { vmsaAddress: places.vmsa } : {}) },
  };
}

/** Halts each time that it is entered. */
export const idle: GuestProgram = async (view) => {
  for (;;) await view.halt();
};
