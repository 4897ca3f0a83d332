import type { Vcpu } from './vcpu.js';

/** A guest that VMRUN can enter. */
export interface Runnable {
  /** The address space id that it owns; undefined while it is not active. */
  readonly asid: number | undefined;
}

/** The vCPUs of all guests of a kind, by what tells them apart inside their guest. */
export class VcpuTable<G extends Runnable> {
  readonly #vcpus = new Map<G, Map<string, Vcpu>>();

  find(guest: G, name: string): Vcpu | undefined {
    return this.#vcpus.get(guest)?.get(name);
  }

  set(guest: G, name: string, vcpu: Vcpu): void {
    const vcpus = this.#vcpus.get(guest) ?? new Map<string, Vcpu>();
    this.#vcpus.set(guest, vcpus);
    vcpus.set(name, vcpu);
  }

  /** Guests that lost their ASID stop where they are, and come back with it; those without a key are no more. */
  removeInactive(isActive: (guest: G) => boolean, isGone: (guest: G) => boolean): void {
    for (const [guest, vcpus] of this.#vcpus) {
      if (isActive(guest)) continue;
      for (const vcpu of vcpus.values()) {
        if (vcpu.isRunning || isGone(guest)) vcpu.remove('the guest was taken away while it ran');
      }
      if (isGone(guest)) this.#vcpus.delete(guest);
    }
  }

  removeAll(): void {
    for (const vcpus of this.#vcpus.values()) {
      for (const vcpu of vcpus.values()) vcpu.remove('the machine was switched off');
    }
    this.#vcpus.clear();
  }
}
