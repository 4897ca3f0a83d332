import { createHash, createHmac } from 'node:crypto';
import {
  buildCertificateTable,
  buildCpuidResponse,
  certificateTableGuids,
  concat,
  GuestMessageTagError,
  type GuestMessageType,
  guestMessageHeader,
  guestMessageStatus,
  keyRequests,
  keyResponse,
  MalformedError,
  openGuestMessage,
  parseCpuidRequest,
  parseSnpGuestPolicy,
  reportRequest,
  reportResponse,
  responseTypeOf,
  Secret,
  sealGuestMessage,
  signerInfoBits,
  snpGuestRequestErrors,
  snpPlatformInfoBits,
  snpReports,
  statusCodes,
  tscInfoResponse,
} from '@vouchsafe/sev';
import type { GuestRequestOutcome, GuestRequestTransport } from '../snp/guest-channel.js';

const bytes = (length: number, seed: number) =>
  Uint8Array.from({ length }, (_, i) => (i * 31 + seed * 7 + 3) & 0xff);
const tcb = Uint8Array.of(4, 0, 0, 0, 0, 0, 24, 217);

/** What a guest's firmware knows of it. */
export interface ScriptedGuest {
  readonly measurement?: Uint8Array;
  readonly guestSvn?: number;
  /** Another seed is another chip. */
  readonly chip?: number;
}

/** As little of the firmware as guest messages need: its reports are signed by nobody. */
export class ScriptedFirmware {
  readonly #guest: Required<ScriptedGuest>;
  readonly #counts = [0n, 0n, 0n, 0n];
  readonly committedTcb: Uint8Array = tcb;
  /** Types of the messages that were answered. */
  readonly answered: GuestMessageType[] = [];

  constructor(guest: ScriptedGuest = {}) {
    this.#guest = { measurement: bytes(48, 1), guestSvn: 3, chip: 1, ...guest };
  }

  /** A new copy of VMPCK n. */
  key(vmpck: number): Secret {
    return Secret.take(bytes(32, 40 + vmpck));
  }

  /** SNP_GUEST_REQUEST. */
  async answer(request: Uint8Array): Promise<{ readonly status: number; readonly response: Uint8Array }> {
    const none = new Uint8Array(4096);
    try {
      const { vmpck } = guestMessageHeader.parseAt(request, 0);
      if (vmpck > 3) return { status: statusCodes.INVALID_PARAM, response: none };
      const key = this.key(vmpck);
      const count = this.#counts[vmpck]!;
      const message = await openGuestMessage({ key, vmpck, sequence: count + 1n, bytes: request });
      const type = responseTypeOf(message.type);
      const payload = type && this.#payload(message.type, message.payload, vmpck);
      if (payload === undefined) return { status: statusCodes.INVALID_PARAM, response: none };
      const rest = { key, vmpck, sequence: count + 2n, version: message.version };
      const response = await sealGuestMessage({ ...rest, type: type!, payload });
      this.#counts[vmpck] = count + 2n;
      this.answered.push(message.type);
      return { status: statusCodes.SUCCESS, response };
    } catch (error) {
      if (error instanceof GuestMessageTagError)
        return { status: statusCodes.BAD_MEASUREMENT, response: none };
      if (error instanceof MalformedError) return { status: statusCodes.INVALID_PARAM, response: none };
      throw error;
    }
  }

  #payload(type: GuestMessageType, payload: Uint8Array, vmpck: number): Uint8Array | undefined {
    if (type === 'REPORT_REQ') return this.#report(payload, vmpck);
    if (type === 'KEY_REQ') return this.#key(payload, vmpck);
    if (type === 'TSC_INFO_REQ')
      return tscInfoResponse.build({ status: 0, scale: 1n << 32n, offset: 5n, factor: 200 });
    if (type !== 'CPUID_REQ') return undefined;
    const entries = parseCpuidRequest(payload).map((entry) => ({ ...entry, eax: entry.eax & 0xff }));
    return buildCpuidResponse({ status: 0, entries });
  }

  #report(payload: Uint8Array, vmpck: number): Uint8Array {
    const { reportData, vmpl, flags } = reportRequest.parse(payload);
    if (vmpl < vmpck || vmpl > 3) return reportResponse.build({ status: guestMessageStatus.INVALID_PARAM });
    if (flags.keySelection === 2) return reportResponse.build({ status: guestMessageStatus.INVALID_KEY });
    const report = snpReports.v3.build({
      version: 3,
      guestSvn: this.#guest.guestSvn,
      policy: parseSnpGuestPolicy(0x30000n),
      familyId: new Uint8Array(16),
      imageId: new Uint8Array(16),
      vmpl,
      signatureAlgorithm: 'ECDSA-P384-SHA384',
      currentTcb: tcb,
      platformInfo: snpPlatformInfoBits.parse(0x25n),
      signerInfo: signerInfoBits.parse(0),
      reportData,
      measurement: this.#guest.measurement,
      hostData: new Uint8Array(32),
      idKeyDigest: new Uint8Array(48),
      authorKeyDigest: new Uint8Array(48),
      reportId: bytes(32, 4),
      reportIdMa: new Uint8Array(32).fill(0xff),
      reportedTcb: tcb,
      cpuidFamily: 0x19,
      cpuidModel: 1,
      cpuidStepping: 1,
      chipId: bytes(64, this.#guest.chip),
      committedTcb: this.committedTcb,
      currentBuild: 29,
      currentMinor: 55,
      currentMajor: 1,
      committedBuild: 29,
      committedMinor: 55,
      committedMajor: 1,
      launchTcb: tcb,
      r: bytes(48, 5),
      s: bytes(48, 6),
    });
    return reportResponse.build({ status: guestMessageStatus.SUCCESS, report });
  }

  #key(payload: Uint8Array, vmpck: number): Uint8Array {
    const request = payload.length === 32 ? keyRequests.v1.parse(payload) : keyRequests.v2.parse(payload);
    const { fields, vmpl, guestSvn, tcbVersion, root } = request;
    const tooHigh = tcbVersion.some((component, i) => component > this.committedTcb[i]!);
    if (vmpl < vmpck || vmpl > 3 || guestSvn > this.#guest.guestSvn || tooHigh)
      return keyResponse.build({ status: guestMessageStatus.INVALID_PARAM });
    if (root.keySelection === 2) return keyResponse.build({ status: guestMessageStatus.INVALID_KEY });
    const counting = [
      fields.measurement ? this.#guest.measurement : new Uint8Array(48),
      fields.guestSvn ? Uint8Array.of(guestSvn) : Uint8Array.of(),
      fields.tcbVersion ? tcbVersion : Uint8Array.of(),
    ];
    const seed = createHash('sha256')
      .update(bytes(64, root.vmrk ? 100 : this.#guest.chip))
      .digest();
    const context = concat(payload.subarray(0, 16), Uint8Array.of(vmpl), ...counting);
    const key = new Uint8Array(createHmac('sha256', seed).update(context).digest());
    return keyResponse.build({ status: guestMessageStatus.SUCCESS, key });
  }
}

/** Three certificates, by name only. */
export const scriptedCertificateTable: Uint8Array = buildCertificateTable(
  (['ARK', 'ASK', 'VCEK'] as const).map((kind, i) => ({
    guid: certificateTableGuids[kind],
    bytes: bytes(300 + i, 20 + i),
  })),
);

/** What a hostile host makes of an exchange: `next` carries the message to the firmware. */
export type Relay = (
  request: Uint8Array,
  withCertificates: boolean,
  next: (request: Uint8Array, withCertificates: boolean) => Promise<GuestRequestOutcome>,
) => Promise<GuestRequestOutcome>;

/** A host that carries messages to the firmware, or does with them as the relay says. */
export function hostOf(
  firmware: ScriptedFirmware,
  relay: Relay = (request, withCertificates, next) => next(request, withCertificates),
  table: Uint8Array = scriptedCertificateTable,
): GuestRequestTransport {
  const room = 4 * 4096;
  const honest = async (request: Uint8Array, withCertificates: boolean): Promise<GuestRequestOutcome> => {
    const response = new Uint8Array(4096);
    if (withCertificates && table.length > room)
      return { firmwareError: 0, vmmError: snpGuestRequestErrors.CERTIFICATE_BUFFER, response };
    const answer = await firmware.answer(request);
    const certificates = new Uint8Array(room);
    certificates.set(table.subarray(0, room));
    return {
      firmwareError: answer.status,
      vmmError: 0,
      response: answer.response,
      ...(withCertificates ? { certificates } : {}),
    };
  };
  return { exchange: (request, withCertificates) => relay(request, withCertificates, honest) };
}
