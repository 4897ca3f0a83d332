import { VouchsafeError } from '@vouchsafe/sev';
import type { QmpErrorClass } from './messages.js';

/** A QMP server read a command and refused it. */
export class QmpError extends VouchsafeError {
  readonly code = 'qmp-error';
  readonly command: string;
  /** `class` of the error object. */
  readonly errorClass: QmpErrorClass | (string & {});
  /** `desc` of the error object: QEMU's own words. */
  readonly description: string;

  constructor(
    refusal: { readonly command: string; readonly errorClass: string; readonly description: string },
    options?: { readonly hint?: string | undefined; readonly cause?: unknown },
  ) {
    super(`${refusal.command}: QEMU answered ${refusal.errorClass}: ${refusal.description}`, options);
    this.command = refusal.command;
    this.errorClass = refusal.errorClass;
    this.description = refusal.description;
  }
}
