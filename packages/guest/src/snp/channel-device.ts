import {
  buildCpuidRequest,
  type CpuidEntry,
  describeStatus,
  endorsementKeySelections,
  guestFieldSelectBits,
  guestMessageStatus,
  keyRequests,
  keyResponse,
  parseCpuidResponse,
  reportRequest,
  reportResponse,
  Secret,
  tscInfoRequest,
  tscInfoResponse,
  UnavailableError,
} from '@vouchsafe/sev';
import {
  type AttestationDevice,
  type DerivedKeyRequest,
  RequestRefusedError,
  requireKeyRequest,
  requireReportRequest,
  withoutPadding,
} from '../attestation/attestation-device.js';
import { type GuestChannel, GuestChannelError } from './guest-channel.js';

/** The payload of MSG_KEY_REQ for a request: version 2 only where its additional field counts. */
export function keyRequestPayload(
  request: DerivedKeyRequest,
  defaultVmpl: number,
): { readonly version: 1 | 2; readonly payload: Uint8Array } {
  const { root, keySelection = 'VLEK-or-VCEK', fields, vmpl = defaultVmpl } = request;
  const { guestSvn = 0, tcbVersion = 0n, launchMitigationVector = 0n } = request;
  const tcb = new Uint8Array(8);
  new DataView(tcb.buffer).setBigUint64(0, tcbVersion, true);
  const values = {
    root: { vmrk: root === 'VMRK', keySelection: endorsementKeySelections[keySelection] },
    fields: { ...guestFieldSelectBits.parse(0n), ...fields },
    vmpl,
    guestSvn,
    tcbVersion: tcb,
  };
  if (fields.launchMitigationVector !== true) return { version: 1, payload: keyRequests.v1.build(values) };
  return { version: 2, payload: keyRequests.v2.build({ ...values, launchMitigationVector }) };
}

/** The key in the payload of MSG_KEY_RSP, which is zeroed. @throws RequestRefusedError */
export function takeDerivedKey(payload: Uint8Array): Secret {
  const response = keyResponse.parse(payload);
  try {
    if (response.status !== guestMessageStatus.SUCCESS) throw new RequestRefusedError('key', response.status);
    return Secret.copyOf(response.key);
  } finally {
    response.raw.fill(0);
    payload.fill(0);
  }
}

/** The report in the payload of MSG_REPORT_RSP. @throws RequestRefusedError */
export function reportOf(payload: Uint8Array): Uint8Array {
  const { status, report } = reportResponse.parseAt(payload, 0);
  if (status !== guestMessageStatus.SUCCESS) throw new RequestRefusedError('report', status);
  return report.slice();
}

/** The attestation device of a guest that speaks to the firmware itself, as the kernel's driver does. */
export function channelAttestationDevice(channel: GuestChannel): AttestationDevice {
  let closed = false;
  const requireOpen = () => {
    if (closed) throw new UnavailableError('attestation device', 'it has been closed');
  };
  return {
    kind: 'software',
    async report(request) {
      requireOpen();
      requireReportRequest(request);
      const { reportData, vmpl = channel.vmpck } = request;
      const { payload, certificates } = await onChannel(() =>
        channel.requestWithCertificates({
          type: 'REPORT_REQ',
          payload: reportRequest.build({ reportData, vmpl }),
        }),
      );
      const table = certificates && withoutPadding(certificates);
      return { report: reportOf(payload), ...(table === undefined ? {} : { certificateTable: table }) };
    },
    async deriveKey(request) {
      requireOpen();
      requireKeyRequest(request);
      const message = keyRequestPayload(request, channel.vmpck);
      return takeDerivedKey(await onChannel(() => channel.request({ type: 'KEY_REQ', ...message })));
    },
    async close() {
      closed = true;
      channel.wipe();
    },
  };
}

/** A channel that failed is, to who wants a report, a device that is not there. */
async function onChannel<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof GuestChannelError)) throw error;
    throw new UnavailableError('attestation device', error.message, { hint: error.hint, cause: error });
  }
}

/** How the guest's time stamp counter is made from the host's, as the firmware says it. */
export interface TscInformation {
  /** Fixed point, 32 bits behind the point. */
  readonly scale: bigint;
  readonly offset: bigint;
  /** The mean frequency is the nominal one × (1 − factor/100000). */
  readonly factor: number;
}

/** Asks the firmware for the guest's time stamp counter. @throws GuestChannelError; UnavailableError when it refuses */
export async function requestTscInformation(channel: GuestChannel): Promise<TscInformation> {
  const payload = await channel.request({ type: 'TSC_INFO_REQ', payload: tscInfoRequest.build({}) });
  const { status, scale, offset, factor } = tscInfoResponse.parse(payload);
  requireSuccess('MSG_TSC_INFO_REQ', status);
  return { scale, offset, factor };
}

/**
 * Asks the firmware which values of CPUID are permitted: what the host told the guest, corrected.
 * @throws GuestChannelError; UnavailableError when it refuses; InvalidArgumentError for more than 64 entries
 */
export async function requestCpuid(
  channel: GuestChannel,
  entries: readonly CpuidEntry[],
): Promise<readonly CpuidEntry[]> {
  const payload = await channel.request({ type: 'CPUID_REQ', payload: buildCpuidRequest(entries) });
  const response = parseCpuidResponse(payload);
  requireSuccess('MSG_CPUID_REQ', response.status);
  return response.entries;
}

function requireSuccess(what: string, status: number): void {
  if (status !== guestMessageStatus.SUCCESS)
    throw new UnavailableError(what, `the firmware refuses it: ${describeStatus(status).text}`);
}
