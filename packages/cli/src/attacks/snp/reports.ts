import {
  type Appraisal,
  amdEndorsementRoots,
  generateP384,
  hostRequestedVmpl,
  idKeyDigest,
  signSnpReport,
  snpReports,
  systemRandom,
  verdict,
} from '@vouchsafe/sev';
import type { Outcome, SnpAttack } from '../attack.js';
import { flipped } from '../interfering-host.js';
import { verifierOutcome } from '../outcome.js';
import { configure, newer } from './platform.js';
import { freshData, type SnpRig, type SnpWorld, type VerifyOptions } from './world.js';

/** Reports and certificates go through the host's hands before anybody verifies them. */

const modes = ['snp'] as const;
const day = 86_400_000;
const { v3 } = snpReports;

/** The honest guest's report on the verifier's fresh data. */
async function honestReport(rig: SnpRig, reportData: Uint8Array = freshData): Promise<Uint8Array> {
  const { attestation } = await rig.boot();
  return (await attestation.report({ reportData })).report;
}

interface Offered {
  readonly report: Uint8Array;
  /** What the host hands over besides, where it is not what an honest one would. */
  readonly options?: VerifyOptions;
}

/** What the host gives to the verifier in place of the guest's report and the chip's certificates. */
function offered(
  id: string,
  title: string,
  at: string,
  offer: (world: SnpWorld, rig: SnpRig) => Promise<Offered>,
): SnpAttack {
  return {
    id,
    flow: 'reports',
    modes,
    title,
    refusedBy: 'verifier',
    at,
    async run(world, rig) {
      const { report, options } = await offer(world, rig);
      const appraisal = await world.verify(report, rig, options);
      return verifierOutcome(appraisal, 'the trust of a verifier in what is not the guest');
    },
  };
}

/** What a verifier accepts, and `at` names what the host has got by it. */
function accepted(appraisal: Appraisal, at: string): Outcome {
  const outcome = verifierOutcome(appraisal, at);
  const { word } = verdict(appraisal);
  return outcome.refusedBy === 'nobody'
    ? { ...outcome, evidence: `the verifier’s verdict: ${word}` }
    : outcome;
}

export const snpReportAttacks: readonly SnpAttack[] = [
  offered(
    'snp-report-altered',
    'The host changes the host data in the guest’s report',
    'report.signature',
    async (_world, rig) => ({ report: flipped(await honestReport(rig), v3.offsetOf('hostData')) }),
  ),
  offered(
    'snp-report-replayed',
    'The host answers with a report that the guest made for an earlier question',
    'report.data',
    async (_world, rig) => ({ report: await honestReport(rig, new Uint8Array(64).fill(1)) }),
  ),
  offered(
    'report-of-a-twin',
    'The host launches the same guest for itself, and offers its report, over a key of the host’s, as the other’s',
    'report.data',
    async (_world, rig) => {
      await rig.boot();
      return { report: await honestReport(rig, systemRandom(64)) };
    },
  ),
  offered(
    'host-requested-report',
    'The host asks the processor for a report itself, and offers it as the guest’s',
    'guest.requester',
    async (world, rig) => {
      // The command came with later firmware than this machine has: the report is made as that firmware makes it.
      const key = await generateP384();
      const chipId = systemRandom(64);
      const { tcb } = rig;
      const vek = await world.authority.endorseVcek({ line: 'Milan', tcb, chipId, publicKey: key.publicKey });
      const unsigned = await honestReport(rig);
      const view = new DataView(unsigned.buffer, unsigned.byteOffset);
      view.setUint32(v3.offsetOf('vmpl'), hostRequestedVmpl, true);
      unsigned.set(chipId, v3.offsetOf('chipId'));
      return { report: await signSnpReport(unsigned, key), options: { vek } };
    },
  ),
  offered(
    'report-of-level-1',
    'Code at VMPL1, an operating system above an SVSM say, offers its report as that of VMPL0',
    'report.vmpl',
    async (_world, rig) => {
      const { attestation } = await rig.boot();
      return { report: (await attestation.report({ reportData: freshData, vmpl: 1 })).report };
    },
  ),
  offered(
    'vcek-of-another-chip',
    'The host hands over the certificate of another, genuine chip',
    'vek.hardware-id',
    async (world, rig) => ({
      report: await honestReport(rig),
      options: { vek: await (await world.rig()).vcek() },
    }),
  ),
  offered(
    'vcek-of-a-newer-version',
    'The host hands over the certificate of its chip for a TCB version that it does not run',
    'vek.tcb',
    async (_world, rig) => ({
      report: await honestReport(rig),
      options: { vek: await rig.vcek(newer(rig.tcb)) },
    }),
  ),
  offered(
    'snp-unpinned-root',
    'The host presents a chain that is whole, under a root that nobody trusts',
    'endorsement.ark.root',
    async (world, rig) => {
      const stranger = await world.strangeAuthority();
      const key = await generateP384();
      const chipId = systemRandom(64);
      const { tcb } = rig;
      const vek = await stranger.endorseVcek({ line: 'Milan', tcb, chipId, publicKey: key.publicKey });
      const unsigned = await honestReport(rig);
      unsigned.set(chipId, v3.offsetOf('chipId'));
      return { report: await signSnpReport(unsigned, key), options: { vek, authority: stranger } };
    },
  ),
  offered(
    'snp-development-root-for-amd',
    'The host presents a software processor to a verifier who trusts AMD’s roots',
    'endorsement.ark.root',
    async (_world, rig) => ({
      report: await honestReport(rig),
      options: { roots: amdEndorsementRoots },
    }),
  ),
  offered(
    'unsigned-report',
    'The host keeps the chip’s key back with MASK_CHIP_KEY, and offers a report that nobody has signed',
    'vek.signing-key',
    async (_world, rig) => {
      await configure(rig.host, { maskChipKey: true });
      return { report: await honestReport(rig) };
    },
  ),
  offered(
    'authority-revoked',
    'The host presents a chip whose signing authority has been revoked',
    'endorsement.revocation',
    async (world, rig) => {
      const authority = await world.authorityAt(Date.now);
      await authority.revoke('ASK');
      return { report: await honestReport(rig), options: { authority } };
    },
  ),
  offered(
    'revocation-list-withheld',
    'The host hands over no revocation list to a verifier who demands one',
    'endorsement.revocation-list',
    async (_world, rig) => ({ report: await honestReport(rig), options: { crls: [] } }),
  ),
  offered(
    'revocation-list-outdated',
    'The host hands over the revocation list of eight days ago, which is good for seven',
    'endorsement.revocation-list',
    async (world, rig) => ({
      report: await honestReport(rig),
      options: { crls: [await listOf(world.authority)], at: Date.now() + 8 * day },
    }),
  ),
  {
    id: 'revocation-list-replayed',
    flow: 'reports',
    modes,
    title: 'The host hands over a revocation list from before the revocation, which is still good',
    refusedBy: 'nobody',
    at: 'trust in a revoked authority, for a week at most',
    limit: {
      why: 'a list is good until its next update, whatever is revoked meanwhile',
      caughtBy:
        'its end, `endorsement.revocation-list`; sooner, a verifier who fetches lists itself and keeps the newest that it has seen',
    },
    async run(world, rig) {
      const before = await listOf(world.authority);
      const later = Date.now() + 3 * day;
      const authority = await world.authorityAt(() => later);
      await authority.revoke('ASK');
      const report = await honestReport(rig);
      // Who has the newer list as well finds out.
      const both = { authority, at: later + day, crls: [before, await listOf(authority)] };
      const outcome = verifierOutcome(await world.verify(report, rig, both), 'unnoticed');
      if (outcome.at !== 'endorsement.revocation') return outcome;
      const options = { authority, at: later + day, crls: [before] };
      return accepted(
        await world.verify(report, rig, options),
        'trust in a revoked authority, for a week at most',
      );
    },
  },
  {
    id: 'chip-id-masked',
    flow: 'reports',
    modes,
    title: 'The host masks the chip id, so that the guest cannot be tied to a machine',
    refusedBy: 'nobody',
    at: 'a report that does not say on which chip the guest runs',
    limit: {
      why: 'SNP_CONFIG is the operator’s, and MASK_CHIP_ID hides the chip in all reports',
      caughtBy:
        'a verifier who wants to know: `report.chip-id`, or `report.chip-allowed` with a list of chips',
    },
    async run(world, rig) {
      await configure(rig.host, { maskChipId: true });
      const report = await honestReport(rig);
      const strict = await world.verify(report, rig, { expectations: { requireChipId: true } });
      const outcome = verifierOutcome(strict, 'unnoticed');
      if (outcome.at !== 'report.chip-id') return outcome;
      return accepted(
        await world.verify(report, rig),
        'a report that does not say on which chip the guest runs',
      );
    },
  },
  {
    id: 'report-passed-on',
    flow: 'reports',
    modes,
    title:
      'The host has the verifier’s question answered by a genuine guest on another machine, and speaks for itself',
    refusedBy: 'nobody',
    at: 'the trust of a verifier who asked for nothing but an answer',
    limit: {
      why: 'a report says that a guest exists, not who is at the other end of the line',
      caughtBy:
        '`report.data`: a verifier who demands the digest of the key that it speaks to, as all of this project’s protocols do',
    },
    // The host's own machine need not have SEV-SNP at all.
    async run(world, elsewhere) {
      const report = await honestReport(elsewhere);
      const hostKey = await generateP384();
      const keyed = new Uint8Array(64);
      keyed.set(await idKeyDigest(hostKey.publicKey));
      const bound = await world.verify(report, elsewhere, { expectations: { reportData: keyed } });
      const outcome = verifierOutcome(bound, 'unnoticed');
      if (outcome.at !== 'report.data') return outcome;
      return accepted(
        await world.verify(report, elsewhere),
        'the trust of a verifier who asked for nothing but an answer',
      );
    },
  },
];

async function listOf(authority: SnpWorld['authority']): Promise<Uint8Array> {
  const list = await authority.findEndorsement({ what: 'crl', kind: 'VCEK', line: authority.line });
  if (list === undefined) throw new TypeError('the authority has no revocation list');
  return list;
}
