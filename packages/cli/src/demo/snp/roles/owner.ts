import { readFile } from 'node:fs/promises';
import { createKdsClient } from '@vouchsafe/kds';
import {
  flattenedJwe,
  jsonText,
  parseSnpEvidence,
  rcarAttestation,
  rcarChallenge,
  reportDataOf,
  requireUsableTeeKey,
  sealToTeeKey,
} from '@vouchsafe/protocol';
import {
  calculateSnpLaunchDigest,
  createIdBlock,
  developmentEndorsementRoot,
  endorsementsOfTable,
  generateP384,
  idKeyDigest,
  type P384PrivateKey,
  requireAccepted,
  type Secret,
  systemRandom,
  toBase64,
  toHex,
  vcpuSignatureOf,
  verifyReport,
} from '@vouchsafe/sev';
import type { BootFiles } from '../../boot-files.js';
import { drawDiskKey, makeDisk } from '../../disk.js';
import { type Narrator, tellVerdict } from '../../narration.js';
import { playRole } from '../../role-process.js';
import { type OwnerPath, ownerPaths, serveOwner } from '../owner-door.js';
import { commandLineOf, type Release, snpGuest } from '../release.js';
import { firstGuestSvn } from '../restarts.js';

/** The guest owner: signs its releases beforehand, and gives its disk key to a guest that proves to be one of them. */
export interface OwnerSettings {
  readonly files: BootFiles;
  readonly keyService: string;
  /** The development root that this owner trusts, and no other: an ARK certificate in DER. */
  readonly ark: Uint8Array;
  /** Where the owner's encrypted disk goes. */
  readonly volume: string;
}

export interface OwnerReady {
  /** Where guests reach the owner. */
  readonly address: string;
  /** For whoever runs the guest; in the order of their security versions, which begin with 1. */
  readonly releases: readonly Release[];
}

playRole<OwnerSettings>(async ({ settings, narrate, ready }) => {
  const key = drawDiskKey();
  const disk = await makeDisk(settings.volume, key);
  await narrate.step('owner', `made ${disk}; its key has 64 characters, and only the owner knows it`);

  const idKey = await generateP384();
  const releases: Release[] = [];
  for (const guestSvn of [1, 2, 3]) releases.push(await signedRelease(settings.files, guestSvn, idKey));
  const [, { launchDigest }] = releases as [Release, Release, Release];
  await narrate.step(
    'owner',
    `computed the launch digest that it expects, as vouchsafe digest does: ${toHex(launchDigest).slice(0, 16)}…`,
  );
  const idKeyDigests = [await idKeyDigest(idKey.publicKey)];
  const answer = releasing({ settings, narrate, key, expected: { launchDigest, idKeyDigests } });
  ready({ address: await serveOwner(answer), releases } satisfies OwnerReady);
});

async function signedRelease(files: BootFiles, guestSvn: number, idKey: P384PrivateKey): Promise<Release> {
  const commandLine = commandLineOf(files, guestSvn);
  const { vcpus, vcpuType, policy } = snpGuest;
  const { digest: launchDigest } = await calculateSnpLaunchDigest({
    firmware: new Uint8Array(await readFile(files.firmware)),
    kernel: new Uint8Array(await readFile(files.kernel)),
    initrd: new Uint8Array(await readFile(files.initrd)),
    append: commandLine,
    vcpus,
    vcpuSignature: vcpuSignatureOf(vcpuType),
  });
  const signed = await createIdBlock({ launchDigest, guestSvn, policy, idKey });
  const idBlock = { block: signed.idBlock, authentication: signed.idAuthentication };
  return { guestSvn, commandLine, launchDigest, idBlock };
}

interface Releasing {
  readonly settings: OwnerSettings;
  readonly narrate: Narrator;
  readonly key: Secret;
  readonly expected: {
    readonly launchDigest: Uint8Array;
    readonly idKeyDigests: readonly Uint8Array[];
  };
}

/** Hands out nonces, and for evidence over one of them the disk key, encrypted to the guest's own. */
function releasing({ settings, narrate, key, expected }: Releasing) {
  const nonces = new Set<string>();

  async function challenge(): Promise<string> {
    const nonce = toBase64(systemRandom(32));
    nonces.add(nonce);
    const text = jsonText(rcarChallenge.toJson({ nonce }));
    await narrate.message('owner', 'guest', 'a nonce', encoded(text));
    return text;
  }

  async function secret(body: string): Promise<string> {
    const { 'runtime-data': runtimeData, 'tee-evidence': evidence } = rcarAttestation.parseText(body);
    const { report, certificates } = parseSnpEvidence(evidence.primary_evidence);
    // A nonce that is none of ours, or was used before, is in no report that could be accepted.
    const reportData = nonces.delete(runtimeData.nonce) ? await reportDataOf(runtimeData) : systemRandom(64);
    const { revocationLists: _, ...endorsements } = endorsementsOfTable(certificates, 'VCEK');
    const appraisal = await verifyReport(
      { report, ...endorsements, crls: [await revocationList(settings, narrate)] },
      {
        roots: [await developmentEndorsementRoot(settings.ark)],
        at: Date.now(),
        revocation: 'require',
        expectations: {
          reportData,
          measurements: [expected.launchDigest],
          idKeyDigests: expected.idKeyDigests,
          minimumGuestSvn: firstGuestSvn,
          vmpl: 0,
        },
      },
    );
    await tellVerdict(narrate, 'report', appraisal);
    requireAccepted(appraisal);
    const guestKey = runtimeData['tee-pubkey'];
    await requireUsableTeeKey(guestKey);
    const text = jsonText(flattenedJwe.toJson(await sealToTeeKey(key, guestKey)));
    await narrate.message(
      'owner',
      'guest',
      'the disk key, wrapped to the guest’s key',
      encoded(text),
      'the guest alone',
    );
    return text;
  }

  return (path: OwnerPath, body: string) => (path === ownerPaths.challenge ? challenge() : secret(body));
}

/** The host may keep a list from the owner, or an old one for it: the owner asks for itself. */
async function revocationList({ keyService }: OwnerSettings, narrate: Narrator): Promise<Uint8Array> {
  const client = createKdsClient({ baseUrl: keyService });
  const list = await client.revocationList('VCEK', 'Milan');
  await narrate.message('key service', 'owner', 'the list of what was revoked, signed by the ARK', list);
  return list;
}

const encoded = (text: string) => new TextEncoder().encode(text);
