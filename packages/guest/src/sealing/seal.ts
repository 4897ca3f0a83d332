import { hkdfSync } from 'node:crypto';
import {
  aes256GcmOpen,
  aes256GcmSeal,
  buildTcbVersion,
  concat,
  openSecret,
  parseSnpReport,
  type RandomSource,
  Secret,
  type SnpAttestationReport,
  UnavailableError,
  VouchsafeError,
} from '@vouchsafe/sev';
import type { AttestationDevice, DerivedKeyRequest } from '../attestation/attestation-device.js';
import {
  authenticatedSize,
  buildSealedHead,
  type CompleteKeyRequest,
  describeKeyRequest,
  parseSealedFile,
} from './sealed-format.js';

/** The file is one of ours, and the key that this guest derives is not its key, or its bytes were changed. */
export class WrongSealingKeyError extends VouchsafeError {
  readonly code = 'wrong-sealing-key';

  constructor(name: string, request: CompleteKeyRequest) {
    super(`${name}: the key that this guest derives does not open it`, {
      hint: `it was altered, or sealed with another of these: ${describeKeyRequest(request).join('; ')}`,
    });
  }
}

export interface SealOptions {
  readonly device: AttestationDevice;
  /** What the key is to depend on. What is left out is taken from a report, see {@link completeKeyRequest}. */
  readonly request: DerivedKeyRequest;
  readonly content: Uint8Array;
  readonly random: RandomSource;
}

/**
 * Seals content to a derived key: no other guest can open it, nor this one elsewhere, as far as the request says. It does
 * not tell an old sealed file from a new one: a host that puts back what it kept is not found out.
 * @throws as the device does; MalformedError when a report is needed that cannot be read
 */
export async function seal({ device, request, content, random }: SealOptions): Promise<Uint8Array> {
  const complete = await completeKeyRequest(device, request);
  const salt = random(16);
  const iv = random(12);
  const head = buildSealedHead(complete, { salt, iv });
  const key = await fileKey(device, complete, salt);
  try {
    const { ciphertext, tag } = await aes256GcmSeal(key, iv, head.subarray(0, authenticatedSize), content);
    head.set(tag, authenticatedSize);
    return concat(head, ciphertext);
  } finally {
    key.zero();
  }
}

/**
 * Opens a sealed file.
 * @param sealed what {@link seal} gave
 * @throws WrongSealingKeyError when this guest has another key, or the file was altered
 * @throws RequestRefusedError when the firmware does not give this guest such a key
 * @throws MalformedError for what is no sealed file; else as the device does
 */
export async function unseal(
  device: AttestationDevice,
  sealed: Uint8Array,
  name = 'sealed file',
): Promise<Secret> {
  const { request, salt, iv, tag, authenticated, ciphertext } = parseSealedFile(sealed, name);
  const key = await fileKey(device, request, salt);
  try {
    const content = await aes256GcmOpen(key, iv, authenticated, ciphertext, tag);
    if (content === undefined) throw new WrongSealingKeyError(name, request);
    return Secret.take(content);
  } finally {
    key.zero();
  }
}

/**
 * Fills in what a request leaves to the guest: the privilege level that it has, and where they are selected, its security
 * version, the committed TCB version and the mitigations at launch, all from a report. Values that were given stand.
 * @throws UnavailableError for mitigations in a report that has none (before version 5); else as the device's `report`
 */
export async function completeKeyRequest(
  device: AttestationDevice,
  request: DerivedKeyRequest,
): Promise<CompleteKeyRequest> {
  const { root, keySelection = 'VLEK-or-VCEK', fields } = request;
  const { vmpl, guestSvn, tcbVersion, launchMitigationVector } = request;
  const needed =
    vmpl === undefined ||
    (fields.guestSvn === true && guestSvn === undefined) ||
    (fields.tcbVersion === true && tcbVersion === undefined) ||
    (fields.launchMitigationVector === true && launchMitigationVector === undefined);
  const own = needed ? await ownReport(device, vmpl) : undefined;
  return {
    root,
    keySelection,
    fields,
    vmpl: vmpl ?? own!.vmpl,
    guestSvn: guestSvn ?? (fields.guestSvn === true ? own!.guestSvn : 0),
    tcbVersion: tcbVersion ?? (fields.tcbVersion === true ? tcbWord(own!) : 0n),
    launchMitigationVector:
      launchMitigationVector ?? (fields.launchMitigationVector === true ? mitigations(own!) : 0n),
  };
}

async function ownReport(device: AttestationDevice, vmpl: number | undefined): Promise<SnpAttestationReport> {
  const { report } = await device.report({ reportData: new Uint8Array(64), vmpl });
  return parseSnpReport(report);
}

function tcbWord({ committedTcb, tcbLayout }: SnpAttestationReport): bigint {
  const bytes = buildTcbVersion(committedTcb, tcbLayout);
  return new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true);
}

function mitigations({ launchMitigationVector, version }: SnpAttestationReport): bigint {
  if (launchMitigationVector !== undefined) return launchMitigationVector;
  throw new UnavailableError('mitigations', `reports of version ${version} do not name those at launch`, {
    hint: 'give the vector, or leave the field out',
  });
}

/** The file's own key: derived keys are few, and GCM wants a new nonce for each file under one key. */
async function fileKey(
  device: AttestationDevice,
  request: CompleteKeyRequest,
  salt: Uint8Array,
): Promise<Secret> {
  const derived = await device.deriveKey(request);
  try {
    return Secret.take(
      new Uint8Array(hkdfSync('sha256', openSecret(derived), salt, 'vouchsafe sealed file', 32)),
    );
  } finally {
    derived.zero();
  }
}
