import { readFile, writeFile } from 'node:fs/promises';
import { connectGuest } from '@vouchsafe/firmware';
import {
  type AttestationDevice,
  type BootedGuest,
  type DerivedKeyRequest,
  guestFirmwareProgram,
  RequestRefusedError,
  seal,
  unlockSealedVolume,
  unlockVolume,
  WrongSealingKeyError,
} from '@vouchsafe/guest';
import {
  flattenedJwe,
  generateTeeKey,
  jsonText,
  openFlattenedJwe,
  rcarAttestation,
  rcarChallenge,
  reportDataOf,
  snpEvidenceJson,
} from '@vouchsafe/protocol';
import {
  digest,
  guestMessageStatusName,
  openSecret,
  parseCertificateTable,
  parseSnpReport,
  type Secret,
  systemRandom,
  toHex,
} from '@vouchsafe/sev';
import type { Narrator } from '../../narration.js';
import { playRole } from '../../role-process.js';
import { askOwner, ownerPaths } from '../owner-door.js';
import type { Ending } from '../restarts.js';

/**
 * What runs inside the confidential machine. The first time it proves to its owner what it is, gets the disk key and seals
 * it to a key that the processor derives for it; from then on it unlocks the disk by itself.
 */
export interface GuestSettings {
  readonly socket: string;
  readonly volume: string;
  /** Where the sealed disk key is kept, beside the disk. */
  readonly sealedKey: string;
  /** Where the owner is reached; absent when the guest is to unlock the disk by itself. */
  readonly owner?: string | undefined;
}

/** What the first guest does, and what the later ones have to be: the measurement may change, the security version not fall. */
const sealedTo: DerivedKeyRequest = {
  root: 'VEK',
  keySelection: 'VCEK',
  fields: { policy: true, guestSvn: true, tcbVersion: true },
};

playRole<GuestSettings>(({ settings, narrate, ready }) => {
  return new Promise<Ending>((resolve, reject) => {
    const program = guestFirmwareProgram({
      async init(guest) {
        const ending = await (settings.owner === undefined
          ? unlockAlone(attestationOf(guest), settings, narrate)
          : beginLife(attestationOf(guest), { ...settings, owner: settings.owner }, narrate));
        await guest.print(ending.opens ? 'disk unlocked' : 'the disk stays locked');
        resolve(ending);
      },
      onFailure: reject,
    });
    connectGuest(settings.socket, program, reject).then(() => ready(), reject);
  });
});

function attestationOf({ attestation }: BootedGuest): AttestationDevice {
  if (attestation === undefined) throw new TypeError('the guest is none of SEV-SNP');
  return attestation;
}

async function beginLife(
  device: AttestationDevice,
  { owner, volume, sealedKey }: GuestSettings & { readonly owner: string },
  narrate: Narrator,
): Promise<Ending> {
  const key = await diskKeyOf(device, owner, narrate);
  if (key === undefined) return { opens: false, refusedBy: 'owner', at: 'report' };
  const sum = toHex(await digest('sha256', openSecret(key))).slice(0, 16);
  await narrate.sight('disk key', 'guest', `plain text, ${key.length} bytes, sha256 ${sum}…`);
  const { kind } = await unlockVolume({ volume, key });
  const what = kind === 'luks2' ? 'LUKS2 volume' : 'stand-in volume';
  await narrate.step('guest', `the ${what} is unlocked`, 'accepted');
  await narrate.sight('disk', 'guest', `unlocked ${what}`);
  const sealed = await seal({ device, request: sealedTo, content: openSecret(key), random: systemRandom });
  key.zero();
  await writeFile(sealedKey, sealed, { mode: 0o600, flag: 'wx' });
  const kept = 'the disk key, sealed to a key that the processor derives for this guest';
  await narrate.message('guest', 'host', kept, sealed, 'a guest of this owner, on this chip');
  await narrate.sight('sealed disk key', 'guest', 'opens it after each restart, without its owner');
  return { opens: true };
}

/** A fresh key, a report that names it, and the owner's answer, which only that key opens. */
async function diskKeyOf(
  device: AttestationDevice,
  owner: string,
  narrate: Narrator,
): Promise<Secret | undefined> {
  const asked = await askOwner(owner, ownerPaths.challenge);
  if (asked === undefined) return undefined;
  const { nonce } = rcarChallenge.parseText(asked);
  const key = await generateTeeKey();
  await narrate.step(
    'guest',
    'makes a key of its own, and asks the processor for a report over it and the nonce',
  );
  const runtimeData = { nonce, 'tee-pubkey': key.publicKey };
  const { report, certificateTable } = await device.report({ reportData: await reportDataOf(runtimeData) });
  const certificates = certificateTable === undefined ? [] : parseCertificateTable(certificateTable);
  const evidence = { primary_evidence: snpEvidenceJson({ report, certificates }), additional_evidence: '' };
  const body = jsonText(rcarAttestation.toJson({ 'runtime-data': runtimeData, 'tee-evidence': evidence }));
  const { measurement } = parseSnpReport(report);
  await narrate.sight('launch digest', 'guest', `in its report: ${toHex(measurement)}`);
  await narrate.message(
    'guest',
    'owner',
    'report, certificates and public key',
    new TextEncoder().encode(body),
  );
  const answer = await askOwner(owner, ownerPaths.secret, body);
  if (answer === undefined) return undefined;
  try {
    return await openFlattenedJwe(flattenedJwe.parseText(answer), key);
  } finally {
    key.privateKey.zero();
  }
}

/** Nobody is asked but the processor. */
async function unlockAlone(
  device: AttestationDevice,
  { volume, sealedKey }: GuestSettings,
  narrate: Narrator,
): Promise<Ending> {
  try {
    await unlockSealedVolume(device, new Uint8Array(await readFile(sealedKey)), { volume });
    await narrate.step(
      'guest',
      'derives the key, opens the sealed disk key, and the disk is unlocked',
      'accepted',
    );
    return { opens: true };
  } catch (error) {
    if (error instanceof WrongSealingKeyError) {
      await narrate.step('guest', 'the processor derives another key: the disk stays locked', 'refused');
      return { opens: false, refusedBy: 'guest', at: error.code };
    }
    if (!(error instanceof RequestRefusedError)) throw error;
    const at = `MSG_KEY_REQ: ${guestMessageStatusName(error.status ?? -1) ?? error.status}`;
    await narrate.step('processor', `gives this guest no such key: ${at}`, 'refused');
    return { opens: false, refusedBy: 'processor', at };
  }
}
