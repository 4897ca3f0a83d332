import {
  guestMessageStatus,
  MalformedError,
  type P384PrivateKey,
  reportRequest,
  reportResponse,
  signingKeys,
  signSnpReport,
  snpReports,
} from '@vouchsafe/sev';
import type { GuestMessage } from './guest-request.js';
import { chosenKey } from './key-choice.js';

/** MSG_REPORT_REQ: an attestation report on 64 bytes of the guest's choice. */
export async function answerReport(message: GuestMessage): Promise<Uint8Array> {
  const asked = parsedRequest(message.payload);
  if (asked === undefined || asked.vmpl < message.vmpck || asked.vmpl > 3) return refusal('INVALID_PARAM');
  const { session } = message.firmware;
  const key = chosenKey(asked.flags.keySelection, session, message.identity);
  if (key === 'INVALID_PARAM' || key === 'INVALID_KEY') return refusal(key);
  // The operator keeps the chip's own key back: the report is made, and nobody vouches for it.
  const signer = key === 'VCEK' && session.maskChipKey ? 'none' : key;
  const unsigned = buildReport(message, asked, signer);
  const report = signer === 'none' ? unsigned : await signSnpReport(unsigned, keyOf(signer, message));
  return reportResponse.build({ status: guestMessageStatus.SUCCESS, report });
}

function parsedRequest(payload: Uint8Array) {
  try {
    return reportRequest.parse(payload);
  } catch (error) {
    if (error instanceof MalformedError) return undefined;
    throw error;
  }
}

function refusal(status: 'INVALID_PARAM' | 'INVALID_KEY'): Uint8Array {
  return reportResponse.build({ status: guestMessageStatus[status], reportSize: 0 });
}

/** Keys are those of the reported TCB version, whatever version runs. */
function keyOf(signer: 'VCEK' | 'VLEK', { firmware }: GuestMessage): P384PrivateKey {
  const { vlek } = firmware.session;
  return signer === 'VLEK' && vlek !== undefined ? vlek.key : firmware.vcek;
}

/** Everything but the signature, in the format of the firmware's version. */
function buildReport(
  { firmware, launch, identity }: GuestMessage,
  asked: { readonly reportData: Uint8Array; readonly vmpl: number },
  signer: keyof typeof signingKeys,
): Uint8Array {
  const { profile, session, committed, version } = firmware;
  const tcb = (name: 'currentTcb' | 'reportedTcb' | 'committedTcb' | 'launchTcb') =>
    firmware.tcbBytes(
      {
        currentTcb: firmware.currentTcb,
        reportedTcb: session.reportedTcb,
        committedTcb: committed.tcb,
        launchTcb: identity.launchTcb,
      }[name],
    );
  const fields = {
    guestSvn: identity.guestSvn,
    policy: launch.policy,
    familyId: identity.familyId,
    imageId: identity.imageId,
    vmpl: asked.vmpl,
    signatureAlgorithm: signer === 'none' ? 'INVALID' : 'ECDSA-P384-SHA384',
    currentTcb: tcb('currentTcb'),
    platformInfo: firmware.platformInfo,
    signerInfo: {
      authorKeyEnabled: identity.authorKeyEnabled,
      maskChipKey: session.maskChipKey,
      signingKey: signingKeys[signer],
    },
    reportData: asked.reportData,
    measurement: launch.digest,
    hostData: identity.hostData,
    idKeyDigest: identity.idKeyDigest,
    authorKeyDigest: identity.authorKeyDigest,
    reportId: launch.reportId,
    reportIdMa: launch.reportIdMa,
    reportedTcb: tcb('reportedTcb'),
    chipId: session.maskChipId ? new Uint8Array(64) : firmware.chipId,
    committedTcb: tcb('committedTcb'),
    currentBuild: version.build,
    currentMinor: version.minor,
    currentMajor: version.major,
    committedBuild: committed.version.build,
    committedMinor: committed.version.minor,
    committedMajor: committed.version.major,
    launchTcb: tcb('launchTcb'),
    r: new Uint8Array(48),
    s: new Uint8Array(48),
  } as const;
  const { family, model, stepping } = profile.processor;
  const cpuid = { cpuidFamily: family, cpuidModel: model, cpuidStepping: stepping };
  if (profile.reportVersion === 2) return snpReports.v2.build(fields);
  if (profile.reportVersion === 3) return snpReports.v3.build({ version: 3, ...cpuid, ...fields });
  return snpReports.v5.build({
    ...fields,
    ...cpuid,
    launchMitigationVector: identity.launchMitigationVector,
    currentMitigationVector: profile.mitigationVector,
  });
}
