import { bytesField, equalBytes, reserved, type SnpFirmwareVersion, structure, u8 } from '@vouchsafe/sev';
import { type Chip, erasedCommitted } from './chip.js';

/** The oldest firmware that a chip runs: what COMMIT raised last. It lies in the chip, and nothing lowers it. */
export interface CommittedFirmware {
  /** TCB_VERSION, 8 bytes. */
  readonly tcb: Uint8Array;
  readonly version: SnpFirmwareVersion;
}

const record = structure(
  {
    name: 'committed firmware',
    size: 16,
    source: 'packages/firmware/src/identity/committed-firmware.ts',
  },
  {
    tcb: bytesField(0, 8, 'COMMITTED_TCB'),
    build: u8(8, 'build of the committed firmware'),
    minor: u8(9, 'minor version of the committed firmware'),
    major: u8(10, 'major version of the committed firmware'),
    reserved: reserved(11, 5),
  },
);

/** Undefined for a chip on which no firmware has initialised SEV-SNP yet. */
export function committedFirmware({ committed }: Pick<Chip, 'committed'>): CommittedFirmware | undefined {
  const bytes = committed.read();
  if (equalBytes(bytes, erasedCommitted())) return undefined;
  const { tcb, major, minor, build } = record.parse(bytes);
  return { tcb, version: { major, minor, build } };
}

export async function commitFirmware(
  { committed }: Pick<Chip, 'committed'>,
  { tcb, version }: CommittedFirmware,
): Promise<void> {
  await committed.write(record.build({ tcb, ...version }));
}
