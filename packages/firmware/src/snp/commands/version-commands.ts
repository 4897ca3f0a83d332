import {
  equalBytes,
  isZero,
  parseTcbVersion,
  snpCommitBuffer,
  snpConfigBuffer,
  snpVlekLoadBuffer,
  type TcbVersion,
  tcbAtLeast,
  tcbDifferences,
  vlekHashstick,
} from '@vouchsafe/sev';
import { commitFirmware } from '../../identity/committed-firmware.js';
import { unwrapVlekHashstick, vlekKey, vlekWrapKey } from '../../identity/vlek.js';
import { refuse, refuseUnless } from '../../processor/command-refusal.js';
import type { SnpFirmware } from '../snp-firmware.js';
import { parsedOrRefused } from '../snp-request.js';
import type { SnpCall } from './command-handlers.js';

/** Versions of the TCB and the keys that go with them: which firmware the chip vouches for, and with which key. */

/** What reports keep back, and which TCB version they are signed for: at most the committed one, else INVALID_PARAM. */
export async function snpConfig({ firmware, request }: SnpCall): Promise<void> {
  const { reportedTcb, flags } = request.command(snpConfigBuffer);
  const { session, committed } = firmware;
  const wanted = isZero(reportedTcb)
    ? committed.tcb
    : parsedOrRefused(() => parseTcbVersion(reportedTcb, firmware.layout));
  refuseUnless(tcbAtLeast(committed.tcb, wanted).ok, 'INVALID_PARAM');
  session.maskChipId = flags.maskChipId;
  session.maskChipKey = flags.maskChipKey;
  report(firmware, wanted);
}

/** For good: no older firmware runs on this chip again. */
export async function snpCommit({ firmware, processor, request }: SnpCall): Promise<void> {
  const { length } = request.command(snpCommitBuffer);
  refuseUnless(length === snpCommitBuffer.size, 'INVALID_LENGTH');
  const { currentTcb, version } = firmware;
  await commitFirmware(processor.chip, { tcb: firmware.tcbBytes(currentTcb), version });
  report(firmware, currentTcb);
}

export async function snpVlekLoad({ firmware, processor, request }: SnpCall): Promise<void> {
  const { length, wrappedVersion, hashstickAddress } = request.command(snpVlekLoadBuffer);
  refuseUnless(length === snpVlekLoadBuffer.size, 'INVALID_LENGTH');
  refuseUnless(wrappedVersion === 0, 'INVALID_PARAM');
  const wrapped = request.structureAt(hashstickAddress, vlekHashstick);
  const { session } = firmware;
  const fits = equalBytes(wrapped.tcbVersion, firmware.tcbBytes(session.reportedTcb));
  refuseUnless(fits, 'INVALID_PARAM');
  const wrapKey = vlekWrapKey(processor.chip);
  const hashstick = unwrapVlekHashstick(wrapKey, wrapped);
  wrapKey.zero();
  if (hashstick === undefined) refuse('BAD_MEASUREMENT');
  firmware.forgetVlek();
  const { reportedTcb: tcb } = session;
  session.vlek = { tcb, hashstick, key: vlekKey(hashstick, firmware.profile.line, tcb) };
}

/** A VLEK is for one TCB version, so it goes when another one is reported. */
function report(firmware: SnpFirmware, tcb: TcbVersion): void {
  const { session } = firmware;
  if (tcbDifferences(session.reportedTcb, tcb).length > 0) firmware.forgetVlek();
  session.reportedTcb = tcb;
}
