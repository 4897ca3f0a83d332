import { fromBase64, toBase64, UnavailableError } from '@vouchsafe/sev';
import type { ConfidentialMachine } from '../launch/launcher.js';
import { FirmwareCommandError } from '../platform/firmware-error.js';
import type { Platform } from '../platform/platform.js';
import { type QmpCommand, QmpRefusal, qmpCommand } from './commands.js';
import { type FirmwareRefusal, qemuFirmwareText } from './firmware-texts.js';

/** What a served QEMU process has: the host's secure processor, and a confidential machine unless it was started without. */
export interface ServedMachine {
  readonly platform: Pick<Platform, 'export' | 'chipId'>;
  readonly capabilities: { readonly cBitPosition: number; readonly reducedPhysBits: number };
  readonly machine?: ConfidentialMachine;
}

const mnonceSize = 16;

/** QEMU's commands for SEV (qemu qapi/misc-target.json, target/i386/sev.c), in its JSON and with its refusals. */
export function sevCommandsOf({
  platform,
  capabilities,
  machine,
}: ServedMachine): Readonly<Record<string, QmpCommand>> {
  return {
    'query-sev': qmpCommand({}, async () => {
      if (machine === undefined) return withoutSev;
      const { apiMajor, apiMinor, buildId, policy, state, handle } = await machine.information();
      return {
        enabled: true,
        'api-major': apiMajor,
        'api-minor': apiMinor,
        'build-id': buildId,
        policy,
        state,
        handle,
      };
    }),

    'query-sev-capabilities': qmpCommand({}, async () => {
      const { pdh, chain } = await reporting('export', () => platform.export());
      const chipId = await reporting('chip-id', () => platform.chipId());
      return {
        pdh: toBase64(pdh),
        'cert-chain': toBase64(chain),
        'cpu0-id': toBase64(chipId),
        cbitpos: capabilities.cBitPosition,
        'reduced-phys-bits': capabilities.reducedPhysBits,
      };
    }),

    'query-sev-launch-measure': qmpCommand({}, async () => {
      if (machine === undefined) throw new QmpRefusal('SEV launch measurement is not available');
      return { data: toBase64(await machine.launchMeasurement()) };
    }),

    'sev-inject-launch-secret': qmpCommand(
      {
        'packet-header': { type: 'string' },
        secret: { type: 'string' },
        gpa: { type: 'uint64', optional: true },
      },
      async ({ 'packet-header': packetHeader, secret, gpa }) => {
        if (machine === undefined) throw new QmpRefusal('SEV not enabled for guest');
        const { state } = await machine.information();
        if (state !== 'launch-secret') {
          throw new QmpRefusal(`SEV: Not in correct state. (LSECRET) ${stateNumbers[state]}`);
        }
        const header = decoded(packetHeader, 'SEV: Failed to decode sequence header');
        const payload = decoded(secret, 'SEV: Failed to decode data');
        const packet = { header, payload, ...(gpa === undefined ? {} : { guestAddress: gpa }) };
        await placing(gpa, () => reporting('inject-secret', () => machine.injectSecret(packet)));
      },
    ),

    'query-sev-attestation-report': qmpCommand({ mnonce: { type: 'string' } }, async ({ mnonce }) => {
      if (machine === undefined) throw new QmpRefusal('SEV is not enabled');
      const nonce = decoded(mnonce, 'SEV: failed to decode mnonce input');
      if (nonce.length !== mnonceSize) {
        throw new QmpRefusal(`SEV: mnonce must be ${mnonceSize} bytes (got ${nonce.length})`);
      }
      const report = await reporting('attestation-report', () => machine.attestationReport(nonce));
      return { data: toBase64(report) };
    }),
  };
}

const withoutSev = {
  enabled: false,
  'api-major': 0,
  'api-minor': 0,
  'build-id': 0,
  policy: 0,
  state: 'uninit',
  handle: 0,
};

/** SevState of QAPI, by which QEMU prints a state. */
const stateNumbers = {
  uninit: 0,
  'launch-update': 1,
  'launch-secret': 2,
  running: 3,
  'send-update': 4,
  'receive-update': 5,
} as const;

/** Says a refusal of the firmware in QEMU's words. */
async function reporting<T>(
  step: Exclude<FirmwareRefusal['step'], 'launch'>,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof FirmwareCommandError)) throw error;
    throw new QmpRefusal(qemuFirmwareText({ step, status: error.status }));
  }
}

/** Says in QEMU's words that there is no place for a secret. */
async function placing(gpa: number | undefined, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof UnavailableError)) throw error;
    if (error.what === 'firmware') {
      throw new QmpRefusal('SEV: no secret area found in OVMF, gpa must be specified.');
    }
    if (error.what !== 'guest memory') throw error;
    const where = gpa === undefined ? 'of the secret area' : `0x${gpa.toString(16)}`;
    throw new QmpRefusal(`SEV: Failed to calculate guest address: No memory is mapped at address ${where}`);
  }
}

/** As QEMU does, nothing decoded counts as not decodable. */
function decoded(text: string, refusal: string): Uint8Array {
  try {
    const bytes = fromBase64(text);
    if (bytes.length > 0) return bytes;
  } catch {
    // What is not base64 is refused as nothing is.
  }
  throw new QmpRefusal(refusal);
}
