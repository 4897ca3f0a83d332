import { buildCpuidResponse, guestMessageStatus, MalformedError, parseCpuidRequest } from '@vouchsafe/sev';
import { acceptableCpuid } from '../cpuid-policy.js';
import type { GuestMessage } from './guest-request.js';

/** MSG_CPUID_REQ: what the guest was told of its processor, and what of it may be so. */
export async function answerCpuid({ firmware, payload }: GuestMessage): Promise<Uint8Array> {
  try {
    const entries = parseCpuidRequest(payload).map((entry) => acceptableCpuid(entry, firmware.profile.line));
    return buildCpuidResponse({ status: guestMessageStatus.SUCCESS, entries });
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error;
    return buildCpuidResponse({ status: guestMessageStatus.INVALID_PARAM, entries: [] });
  }
}
