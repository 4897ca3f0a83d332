import { guestMessageStatus, MalformedError, tscInfoRequest, tscInfoResponse } from '@vouchsafe/sev';
import { tscScale } from '../tsc.js';
import type { GuestMessage } from './guest-request.js';

/** MSG_TSC_INFO_REQ: how the guest's time stamp counter runs, which its host then cannot lie about. */
export async function answerTscInfo({ firmware, launch, payload }: GuestMessage): Promise<Uint8Array> {
  const { profile } = firmware;
  const answer = (status: number, scale: bigint, factor: number) =>
    tscInfoResponse.build({ status, scale, offset: 0n, factor });
  try {
    tscInfoRequest.parse(payload);
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error;
    return answer(guestMessageStatus.INVALID_PARAM, 0n, 0);
  }
  return answer(guestMessageStatus.SUCCESS, tscScale(launch.tscKhz, profile) ?? 0n, profile.tscFactor);
}
