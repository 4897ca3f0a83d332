import { describeStatus, type StatusName, statusName, VouchsafeError } from '@vouchsafe/sev';

/** The secure processor was asked and said no. */
export class FirmwareCommandError extends VouchsafeError {
  readonly code = 'firmware-status';
  /** Name in the specification, for example `PEK_CERT_IMPORT`. */
  readonly command: string;
  /** The number in bits 15:0 of CmdResp. */
  readonly status: number;
  /** Undefined for a status that this version does not know. */
  readonly statusName: StatusName | undefined;

  constructor(
    command: string,
    status: number,
    options?: { readonly hint?: string; readonly cause?: unknown },
  ) {
    const { text, advice } = describeStatus(status);
    super(`${command}: the secure processor answered ${text}`, {
      hint: options?.hint ?? advice,
      cause: options?.cause,
    });
    this.command = command;
    this.status = status;
    this.statusName = statusName(status);
  }
}
