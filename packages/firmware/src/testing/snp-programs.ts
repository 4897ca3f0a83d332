import type { GuestFault, GuestProgram, GuestView } from '../guest-view.js';
import { snpPlaces } from './snp-fixture.js';

const { memory, shared } = snpPlaces;

/** System address of a byte of guest memory, as the fixture has it. */
export const system = (guestAddress: number) => memory.system + guestAddress;

/** What the exit of an encrypted read says that met another page than the guest's own. */
export const violation = { write: false, encrypted: true, sizeMismatch: false, vmpl: false };

/** Leaves again and again, doing one thing in between each time. */
export function steps(...each: ((view: GuestView) => Promise<void>)[]): GuestProgram {
  return async (view) => {
    for (const step of each) {
      await step(view);
      await view.vmgexit(shared.guest);
    }
  };
}

/** What a program waits for that runs for as long as its test wants. */
export function gate(): { readonly opened: Promise<void>; open(): void } {
  let open: () => void = () => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open: () => open() };
}

/** What a guest's step threw. */
export async function faultOf(step: Promise<unknown>): Promise<GuestFault['fault'] | 'none'> {
  return step.then(
    () => 'none' as const,
    (error: GuestFault) => error.fault,
  );
}
