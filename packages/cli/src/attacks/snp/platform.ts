import { drawVlekHashstick, type HostMachine, vlekWrapKey, wrapVlekHashstick } from '@vouchsafe/firmware';
import { initialiseSnpWhenNeeded, withMailbox } from '@vouchsafe/host';
import {
  buildTcbVersion,
  type Secret,
  snpConfigBuffer,
  snpVlekLoadBuffer,
  systemRandom,
  type TcbVersion,
  tcbLayout,
} from '@vouchsafe/sev';
import { runCommand } from './meddling.js';
import type { SnpRig } from './world.js';

/** Commands of the host's on the platform, as its operator gives them. */

export const tcbBytes = (tcb: TcbVersion) => buildTcbVersion(tcb, tcbLayout('Milan'));

/** The eight bytes as a number, for requests of derived keys. */
export function tcbWord(tcb: TcbVersion): bigint {
  const bytes = tcbBytes(tcb);
  return new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true);
}

export const newer = (tcb: TcbVersion): TcbVersion => ({ ...tcb, snp: tcb.snp + 1 });
export const older = (tcb: TcbVersion): TcbVersion => ({ ...tcb, snp: tcb.snp - 1 });

export interface Settings {
  readonly reportedTcb?: TcbVersion;
  readonly maskChipId?: boolean;
  readonly maskChipKey?: boolean;
}

/** SNP_CONFIG. */
export async function configure(
  host: HostMachine,
  { reportedTcb, maskChipId = false, maskChipKey = false }: Settings,
): Promise<void> {
  await initialiseSnpWhenNeeded(host);
  const reported = reportedTcb === undefined ? {} : { reportedTcb: tcbBytes(reportedTcb) };
  await runCommand(
    host,
    'SNP_CONFIG',
    snpConfigBuffer.build({ ...reported, flags: { maskChipId, maskChipKey } }),
  );
}

export const newHashstick = () => drawVlekHashstick(systemRandom);

/** SNP_VLEK_LOAD of an operator's hashstick, which the authority has wrapped for a chip. */
export async function loadVlek(rig: SnpRig, hashstick: Secret, wrappedFor: SnpRig = rig): Promise<void> {
  await initialiseSnpWhenNeeded(rig.host);
  const wrapKey = vlekWrapKey(wrappedFor.chip);
  const { tcb } = rig;
  const wrapped = wrapVlekHashstick({ wrapKey, hashstick, line: 'Milan', tcb, random: systemRandom });
  wrapKey.zero();
  await withMailbox(rig.host, async ({ place, run }) => {
    const { address: hashstickAddress } = await place(wrapped);
    await run('SNP_VLEK_LOAD', snpVlekLoadBuffer.build({ hashstickAddress }));
  });
}
