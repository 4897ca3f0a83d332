import { makePlatformOwner } from '@vouchsafe/host';
import type { LaunchRequest } from '@vouchsafe/protocol';
import {
  amdCaCertificates,
  amdPlatformRoots,
  buildSevCertificate,
  concat,
  fromHex,
  generateP384,
  parseSevCertificate,
  sevCertificate,
  signSevCertificate,
} from '@vouchsafe/sev';
import type { SevAttack } from '../attack.js';
import { ownerOutcome } from '../outcome.js';
import { type Rig, type World, withSignedCek } from './world.js';

/** The host lies about the platform before the launch; the owner's verification of the chain is what stands in its way. */

const both = ['sev', 'sev-es'] as const;
const size = sevCertificate.size;

/** Asks an owner, who may trust other things than the world's, for a session with an altered request. */
async function ask(
  world: World,
  rig: Rig,
  changes: Partial<LaunchRequest>,
  options: Parameters<World['owner']>[0] = {},
) {
  const owner = await world.owner(options);
  const { appraisal } = await owner.openSession({ ...rig.request, ...changes } as LaunchRequest);
  return ownerOutcome(appraisal, 'the owner opens a session with a platform that is not what it seems');
}

const part = (chain: Uint8Array, index: number) => chain.slice(index * size, (index + 1) * size);

/** A CA certificate with other key ids. Its signature no longer fits, but who it says it is is asked first. */
function renamed(certificate: Uint8Array, keyId: string, certifyingId: string): Uint8Array {
  const layout = amdCaCertificates[4096];
  return layout.build({
    ...layout.parse(certificate),
    keyId: fromHex(keyId),
    certifyingId: fromHex(certifyingId),
  });
}

export const endorsementAttacks: readonly SevAttack[] = [
  {
    id: 'swapped-pdh',
    flow: 'endorsement',
    modes: both,
    title: 'The host puts a Diffie-Hellman key of its own in place of the PDH, to open the session itself',
    refusedBy: 'owner',
    at: 'chain.pdh.pek-signature',
    async run(world, rig) {
      const own = await generateP384();
      const { apiMajor, apiMinor } = parseSevCertificate(rig.request.pdh);
      const certificate = buildSevCertificate({
        apiMajor,
        apiMinor,
        usage: 'PDH',
        algorithm: 'ECDH-SHA256',
        publicKey: own.publicKey,
      });
      const pdh = await signSevCertificate(certificate, {
        usage: 'PEK',
        algorithm: 'ECDSA-SHA256',
        key: own,
      });
      return ask(world, rig, { pdh });
    },
  },
  {
    id: 'other-owner',
    flow: 'endorsement',
    modes: both,
    title: 'The host presents a platform whose PEK the owner’s CA never signed',
    refusedBy: 'owner',
    at: 'chain.oca.pinned',
    async run(world, rig) {
      const required = await makePlatformOwner();
      return ask(world, rig, {}, { owner: required.certificate });
    },
  },
  {
    id: 'cek-of-another-chip',
    flow: 'endorsement',
    modes: both,
    title: 'The host presents the endorsement of another, genuine chip',
    refusedBy: 'owner',
    at: 'chain.pek.cek-signature',
    async run(world, rig) {
      const other = await world.rig();
      const cek = part(other.request.certificateChain, 2);
      return ask(world, rig, { certificateChain: withSignedCek(rig.request.certificateChain, cek) });
    },
  },
  {
    id: 'forged-ask',
    flow: 'endorsement',
    modes: both,
    title: 'The host endorses its chip with an ASK of its own, under the genuine ARK',
    refusedBy: 'owner',
    at: 'chain.ask.ark-signature',
    async run(world, rig) {
      const stranger = await world.strangeAuthority();
      const cek = await stranger.endorse(await rig.platform.chipId(), part(rig.request.certificateChain, 2));
      return ask(world, rig, {
        certificateChain: withSignedCek(rig.request.certificateChain, cek),
        certificateAuthority: concat(stranger.ask, world.authority.ark),
      });
    },
  },
  {
    id: 'unpinned-root',
    flow: 'endorsement',
    modes: both,
    title: 'The host presents a chain that is whole, under a root that nobody pinned',
    refusedBy: 'owner',
    at: 'chain.ark.root',
    async run(world, rig) {
      const stranger = await world.strangeAuthority();
      const cek = await stranger.endorse(await rig.platform.chipId(), part(rig.request.certificateChain, 2));
      return ask(world, rig, {
        certificateChain: withSignedCek(rig.request.certificateChain, cek),
        certificateAuthority: concat(stranger.ask, stranger.ark),
      });
    },
  },
  {
    id: 'development-root-for-amd',
    flow: 'endorsement',
    modes: both,
    title: 'The host presents a software processor to an owner who trusts AMD’s roots',
    refusedBy: 'owner',
    at: 'chain.ark.root',
    run: (world, rig) => ask(world, rig, {}, { roots: amdPlatformRoots }),
  },
  {
    id: 'amd-root-for-development',
    flow: 'endorsement',
    modes: both,
    title: 'The host presents a chain that names AMD’s root to an owner who trusts a development root',
    refusedBy: 'owner',
    at: 'chain.ark.root',
    async run(world, rig) {
      const { arkKeyId, askKeyId } = amdPlatformRoots.find(({ generation }) => generation === 'milan')!;
      return ask(world, rig, {
        certificateAuthority: concat(
          renamed(world.authority.ask, askKeyId, arkKeyId),
          renamed(world.authority.ark, arkKeyId, arkKeyId),
        ),
      });
    },
  },
  {
    id: 'old-firmware',
    flow: 'endorsement',
    modes: both,
    title: 'The host announces a firmware older than the policy’s least API',
    refusedBy: 'owner',
    at: 'platform.api',
    run: (world, rig) => ask(world, rig, { apiMajor: 1, apiMinor: 50 }),
  },
  {
    id: 'unbound-firmware',
    flow: 'endorsement',
    modes: both,
    title: 'The host announces a firmware older than API 0.17, whose secret packets fit any launch',
    refusedBy: 'owner',
    at: 'platform.api-binding',
    run: (world, rig) => ask(world, rig, { apiMajor: 0, apiMinor: 16 }),
  },
  {
    id: 'unexpected-build',
    flow: 'endorsement',
    modes: both,
    title: 'The host runs a build of the firmware that the owner has not examined',
    refusedBy: 'owner',
    at: 'platform.build',
    run: (world, rig) => ask(world, rig, {}, { expectedBuilds: [rig.request.buildId + 1] }),
  },
];
