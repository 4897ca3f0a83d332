import {
  certificateTableEntry,
  type DerivedKeyRoot,
  describeStatus,
  type EndorsementKeySelection,
  guestMessageStatusName,
  InvalidArgumentError,
  parseCertificateTable,
  type Secret,
  VouchsafeError,
} from '@vouchsafe/sev';

/** What a report is asked with. */
export interface ReportRequest {
  /** 64 bytes that the report is to carry: a nonce, or the digest of a key. */
  readonly reportData: Uint8Array;
  /** Privilege level that the report is to name, 0 to 3; that of the asker when absent. */
  readonly vmpl?: number | undefined;
}

/** A report and what the host put beside it. */
export interface AttestationEvidence {
  /** The attestation report, 1184 bytes. */
  readonly report: Uint8Array;
  /** The host's table of certificates (`parseCertificateTable`); absent when it gave none. Nobody has verified it. */
  readonly certificateTable?: Uint8Array;
}

/** Fields of the guest that a derived key can depend on. */
export type DerivedKeyField =
  | 'policy'
  | 'imageId'
  | 'familyId'
  | 'measurement'
  | 'guestSvn'
  | 'tcbVersion'
  | 'launchMitigationVector';

/** What a key is derived from. The same request gives the same key, on the same chip and to the same guest. */
export interface DerivedKeyRequest {
  /** `VEK`: the chip's endorsement key, or the operator's. `VMRK`: the root that goes with a guest that migrates. */
  readonly root: DerivedKeyRoot;
  /** Which endorsement key; the VLEK when one is loaded, else the VCEK, when absent. */
  readonly keySelection?: EndorsementKeySelection | undefined;
  /** What of the guest it depends on. Host data and the ID key always count. */
  readonly fields: Partial<Readonly<Record<DerivedKeyField, boolean>>>;
  /** Privilege level, 0 to 3, not above the asker's; that of the asker when absent. */
  readonly vmpl?: number | undefined;
  /** At most that of the ID block; counts with the field `guestSvn`. 0 when absent. */
  readonly guestSvn?: number | undefined;
  /** The 8 bytes of a TCB version as a little-endian number, in no component above the committed one. 0 when absent. */
  readonly tcbVersion?: bigint | undefined;
  /** A part of the launch's vector; counts with the field of its name, which needs version 2 of the message. */
  readonly launchMitigationVector?: bigint | undefined;
}

/**
 * Where a SEV-SNP guest gets its reports and keys. Four backends: the folder of configfs-tsm, the device of the
 * sev-guest driver, guest messages of our own, and a socket that serves one of those. One conformance suite runs over
 * all of them; nothing above knows which it has. Calls at the same time wait for each other where they have to.
 */
export interface AttestationDevice {
  readonly kind: 'configfs-tsm' | 'sev-guest' | 'software' | 'socket';
  /**
   * @throws InvalidArgumentError for other than 64 bytes, and another level than 0 to 3
   * @throws RequestRefusedError when the firmware does not give such a report
   * @throws UnavailableError when the device is missing, fails or has been closed
   */
  report(request: ReportRequest): Promise<AttestationEvidence>;
  /**
   * A key of 32 bytes, for the caller to zero.
   * @throws UnavailableError also when this backend has no keys; else as `report`
   */
  deriveKey(request: DerivedKeyRequest): Promise<Secret>;
  /** Gives back what the device holds. May be called more than once. */
  close(): Promise<void>;
}

/** The firmware got the request, and its answer is a refusal. The channel is sound, and other requests may succeed. */
export class RequestRefusedError extends VouchsafeError {
  readonly code = 'request-refused';
  /** STATUS of the response; undefined where the backend tells no more than that it was refused. */
  readonly status: number | undefined;

  constructor(what: 'report' | 'key', status: number | undefined) {
    const said = status === undefined ? '' : `: ${describeStatus(status).text}`;
    super(`the firmware gives no such ${what}${said}`, { hint: refusalHint(what, status) });
    this.status = status;
  }
}

function refusalHint(what: 'report' | 'key', status: number | undefined): string {
  if (status !== undefined && guestMessageStatusName(status) === 'INVALID_KEY')
    return 'no VLEK is loaded, or the guest was launched without its VCEK: select the other key';
  return what === 'report'
    ? 'a guest gets reports for its own privilege level and those below it, 0 being the highest'
    : 'privilege level, security version and TCB version cannot be above those of the guest and the committed firmware';
}

/** @throws InvalidArgumentError as `AttestationDevice.report` */
export function requireReportRequest({ reportData, vmpl }: ReportRequest): void {
  if (reportData.length !== 64)
    throw new InvalidArgumentError('report data', `expected 64 bytes, found ${reportData.length}`);
  requireVmpl(vmpl);
}

/** @throws InvalidArgumentError as `AttestationDevice.deriveKey` */
export function requireKeyRequest(request: DerivedKeyRequest): void {
  requireVmpl(request.vmpl);
  const { guestSvn = 0, tcbVersion = 0n, launchMitigationVector = 0n } = request;
  if (!Number.isInteger(guestSvn) || guestSvn < 0 || guestSvn >= 2 ** 32)
    throw new InvalidArgumentError('guest SVN', 'expected a number of 32 bits');
  for (const [name, value] of Object.entries({ tcbVersion, launchMitigationVector })) {
    if (value < 0n || value >= 1n << 64n)
      throw new InvalidArgumentError(name, 'expected a number of 64 bits');
  }
}

function requireVmpl(vmpl: number | undefined): void {
  if (vmpl !== undefined && ![0, 1, 2, 3].includes(vmpl))
    throw new InvalidArgumentError('VMPL', `expected 0, 1, 2 or 3, found ${vmpl}`);
}

/**
 * The host's table without the padding behind it, as configfs-tsm gives it; undefined where there is none. A table that
 * is none is passed on whole: whoever verifies it says what is wrong with it.
 */
export function withoutPadding(table: Uint8Array): Uint8Array | undefined {
  if (table.every((byte) => byte === 0)) return undefined;
  try {
    parseCertificateTable(table);
  } catch {
    return table;
  }
  const { size } = certificateTableEntry;
  let end = size;
  for (let at = 0; ; at += size) {
    const { offset, length } = certificateTableEntry.parseAt(table, at);
    if (length === 0) return table.slice(0, Math.max(end, at + size));
    end = Math.max(end, offset + length);
  }
}
