import type { RmpViolation } from '../mailbox.js';

/** Raised where the host has mapped nothing, or what is not this guest's: the guest leaves with it. */
export class NestedPageFault extends Error {
  readonly guestAddress: number;
  readonly violation: RmpViolation | undefined;

  constructor(guestAddress: number, violation?: RmpViolation) {
    super(`nothing that the guest may use is mapped at guest address 0x${guestAddress.toString(16)}`);
    this.guestAddress = guestAddress;
    this.violation = violation;
  }
}
