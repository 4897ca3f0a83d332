import {
  derivedKeyContext,
  guestMessageStatus,
  keyRequests,
  keyResponse,
  MalformedError,
  openSecret,
  parseTcbVersion,
  Secret,
  tcbAtLeast,
} from '@vouchsafe/sev';
import { vcekSeed } from '../../identity/vcek.js';
import { vlekSeed } from '../../identity/vlek.js';
import type { GuestMessage } from './guest-request.js';
import { chosenKey } from './key-choice.js';
import { counterModeKdf } from './key-derivation.js';

/**
 * MSG_KEY_REQ: a key that only this guest gets, here and now, or after a restart from the same things. Its root is bound
 * to the chip and the reported TCB version (VCEK), to the operator and that version (VLEK), or to this guest's launch
 * (VMRK). Its VMPL, host data and ID key always count; what else does, the guest selects.
 */
export async function answerKey(message: GuestMessage): Promise<Uint8Array> {
  const asked = parsedRequest(message);
  if (asked === undefined || !isAllowed(asked, message)) return refusal('INVALID_PARAM');
  const root = rootFor(asked.root, message);
  if (typeof root === 'string') return refusal(root);
  const context = contextOf(asked, message);
  const key = counterModeKdf(root, 'gmsg-keyreq', context, 32);
  root.zero();
  const response = keyResponse.build({ status: guestMessageStatus.SUCCESS, key });
  key.fill(0);
  return response;
}

type KeyRequest = ReturnType<typeof keyRequests.v1.parse> & { readonly launchMitigationVector: bigint };

/** Undefined for reserved bits. The mitigation vector came with version 2. */
function parsedRequest({ version, payload }: GuestMessage): KeyRequest | undefined {
  try {
    if (version === 2) return keyRequests.v2.parse(payload);
    const asked = keyRequests.v1.parse(payload);
    return asked.fields.launchMitigationVector ? undefined : { ...asked, launchMitigationVector: 0n };
  } catch (error) {
    if (error instanceof MalformedError) return undefined;
    throw error;
  }
}

function refusal(status: 'INVALID_PARAM' | 'INVALID_KEY'): Uint8Array {
  return keyResponse.build({ status: guestMessageStatus[status] });
}

/** A guest gets keys of what it is, or was: never of a higher privilege, a later version or a better processor. */
function isAllowed(asked: KeyRequest, { firmware, identity, vmpck }: GuestMessage): boolean {
  if (asked.vmpl < vmpck || asked.vmpl > 3) return false;
  if (asked.guestSvn > identity.guestSvn) return false;
  if ((asked.launchMitigationVector & ~identity.launchMitigationVector) !== 0n) return false;
  try {
    const tcb = parseTcbVersion(asked.tcbVersion, firmware.layout);
    return tcbAtLeast(firmware.committed.tcb, tcb).ok;
  } catch (error) {
    if (error instanceof MalformedError) return false;
    throw error;
  }
}

/** A copy that the caller zeroes. */
function rootFor(
  { vmrk, keySelection }: KeyRequest['root'],
  { firmware, chip, launch, identity }: GuestMessage,
): Secret | 'INVALID_PARAM' | 'INVALID_KEY' {
  const { session, profile } = firmware;
  const { vlek, maskChipKey, reportedTcb } = session;
  const key = chosenKey(keySelection, session, identity);
  if (vmrk) return key === 'INVALID_PARAM' ? key : Secret.copyOf(openSecret(launch.migrationRootKey));
  if (key === 'VLEK' && vlek !== undefined) return vlekSeed(vlek.hashstick, profile.line, vlek.tcb);
  if (key === 'VCEK') return maskChipKey ? 'INVALID_KEY' : vcekSeed(chip, reportedTcb);
  return key === 'INVALID_PARAM' ? key : 'INVALID_KEY';
}

/** What is not selected is zero. */
function contextOf(asked: KeyRequest, { launch, identity }: GuestMessage): Uint8Array {
  const { fields, root, vmpl } = asked;
  return derivedKeyContext.build({
    root,
    fields,
    vmpl,
    hostData: identity.hostData,
    idKeyDigest: identity.idKeyDigest,
    ...(fields.policy && { policy: launch.policy.word }),
    ...(fields.imageId && { imageId: identity.imageId }),
    ...(fields.familyId && { familyId: identity.familyId }),
    ...(fields.measurement && { measurement: launch.digest }),
    ...(fields.guestSvn && { guestSvn: asked.guestSvn }),
    ...(fields.tcbVersion && { tcbVersion: asked.tcbVersion }),
    ...(fields.launchMitigationVector && { launchMitigationVector: asked.launchMitigationVector }),
  });
}
