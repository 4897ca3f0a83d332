import {
  type Appraisal,
  Appraiser,
  checkTable,
  formatTcb,
  type RootOfTrust,
  tcbAtLeast,
  timeText,
  verdict,
} from '@vouchsafe/sev';
import type { Claims, PreLaunchClaims, SnpClaims } from '../attestation/claims.js';
import type { TcbFloorReference } from '../reference-values/document.js';
import {
  holdsAt,
  type ReferenceSet,
  type ReferenceValues,
  referenceName,
} from '../reference-values/in-force.js';
import { definedFloor, floorText, type MeasuredFit, measuredFits } from '../reference-values/matching.js';

/** What the broker demands of every guest before a release policy may say yes. */
export interface ReleaseDemands {
  /** Which roots it serves, never both. */
  readonly root: RootOfTrust['kind'];
  /** Milliseconds for which the last good revocation verdict still counts; `skip` asks for none. */
  readonly revocationGrace: number | 'skip';
  /** 0 to 3. */
  readonly vmpl: number;
  /** `any` accepts measurements that no reference value knows: the release policy alone must then tell. */
  readonly measurement: 'known' | 'any';
}

/** AMD's root, a revocation verdict of the last day, VMPL 0, a known measurement. */
export const defaultDemands: ReleaseDemands = {
  root: 'amd',
  revocationGrace: 86_400_000,
  vmpl: 0,
  measurement: 'known',
};

/** The checks of every decision, before the release policy is asked. */
export const demandChecks = checkTable({
  'demand.evidence': {
    title: 'evidence is accepted',
    protects: 'anybody could write evidence',
    hint: 'see the failed checks of the evidence',
    kind: 'authenticity',
  },
  'demand.root': {
    title: 'evidence leads to the kind of root that this broker serves',
    protects: 'a software processor could pass as a chip, or a chip’s secrets go to a development set-up',
    hint: 'a development root needs a broker of its own',
    kind: 'authenticity',
  },
  'demand.report-data': {
    title: 'report data binds the guest’s key and the broker’s nonce',
    protects: 'an old report, or another guest’s, could ask for secrets with a stranger’s key',
    hint: 'attest with a fresh challenge',
    kind: 'expectation',
  },
  'demand.vmpl': {
    title: 'report was asked for at the demanded privilege level',
    protects: 'less privileged software in the guest could get the secrets of the more privileged',
    hint: 'ask for the report at that level, or serve the level that your guests attest at',
    kind: 'expectation',
  },
  'demand.revocation': {
    title: 'a revocation verdict within its grace',
    protects: 'a signing key that was stolen from AMD, and revoked, could endorse software as a chip',
    hint: 'let the broker fetch the revocation list: see that it reaches its key service',
    kind: 'authenticity',
  },
  'demand.measurement': {
    title: 'measurement is a known one',
    protects: 'the host could start other software than the owner’s',
    hint: 'if it is yours, publish it in a new version of your reference values: `vouchsafe broker reference publish --measurement …`',
    kind: 'expectation',
  },
  'demand.reference-validity': {
    title: 'the reference value that knows the measurement is in force',
    protects: 'an image that its issuer no longer vouches for, or not yet, could get secrets',
    hint: 'publish a new version of the reference values with the period that you mean',
    kind: 'expectation',
  },
  'demand.id-key': {
    title: 'ID and author key are those of the known image',
    protects: 'somebody else could have signed for this guest',
    hint: 'launch the guest with the ID block of its owner',
    kind: 'expectation',
  },
  'demand.host-data': {
    title: 'host data is one of the known image',
    protects: 'the right software could run with settings of the host’s choice',
    hint: 'launch the guest with the init-data that its owner published',
    kind: 'expectation',
  },
  'demand.tcb': {
    title: 'reported TCB reaches every floor of its product line',
    protects: 'firmware with known holes could hold the signing key',
    hint: 'the host must update its firmware, then the guest must attest again',
    kind: 'expectation',
  },
});
export type DemandCheck = keyof typeof demandChecks;

/** The claim that a demand is about, as policies and denials name it. */
export const demandedClaims: Readonly<Record<DemandCheck, string>> = {
  'demand.evidence': 'evidence',
  'demand.root': 'root.kind',
  'demand.report-data': 'reportData',
  'demand.vmpl': 'vmpl',
  'demand.revocation': 'revocation',
  'demand.measurement': 'measurement',
  'demand.reference-validity': 'measurement',
  'demand.id-key': 'idKeyDigest',
  'demand.host-data': 'hostData',
  'demand.tcb': 'tcb.reported',
};

type Reporter = Appraiser<DemandCheck>;

/**
 * Compares claims with the broker's demands and with the reference values of this moment. The evidence's own Appraisal is
 * one of the checks.
 */
export function appraiseDemands(
  claims: Claims,
  evidence: Appraisal,
  values: ReferenceValues,
  demands: ReleaseDemands,
): Appraisal {
  const appraiser = new Appraiser('claims', demandChecks);
  const { accepted, failed } = verdict(evidence);
  appraiser.report('demand.evidence', accepted, {
    expected: 'every check passed',
    found: accepted ? 'every check passed' : `${failed.map(({ id }) => id).join(', ') || 'nothing checked'}`,
  });
  const { root } = evidence;
  appraiser.report('demand.root', root !== undefined && root.kind === demands.root, {
    expected: demands.root === 'amd' ? 'AMD’s' : 'a development root',
    found: root?.name ?? 'none that is trusted',
  });
  if (claims.tee === 'snp') appraiseSnp(claims, evidence, { values, demands }, appraiser);
  else appraisePreLaunch(claims, appraiser);
  return appraiser.finish(accepted ? root : undefined);
}

interface Context {
  readonly values: ReferenceValues;
  readonly demands: ReleaseDemands;
}

function appraiseSnp(claims: SnpClaims, evidence: Appraisal, context: Context, appraiser: Reporter): void {
  const { demands, values } = context;
  const bound = evidence.checks.find(({ id }) => id === 'report.data');
  appraiser.report('demand.report-data', bound?.status === 'pass', {
    expected: bound?.expected ?? 'the digest of nonce and guest key',
    found: bound === undefined || bound.status === 'not-asked' ? 'nothing compared' : claims.reportData,
  });
  appraiser.report('demand.vmpl', claims.vmpl === demands.vmpl, {
    expected: `VMPL ${demands.vmpl}`,
    found: `VMPL ${claims.vmpl}`,
  });
  appraiseRevocation(claims, context, appraiser);
  const fits = measuredFits(claims, values);
  appraiseMeasurement(claims, fits, context, appraiser);
  appraiseTcb(claims, values, appraiser);
}

function appraiseRevocation(
  { revocation }: SnpClaims,
  { demands, values }: Context,
  appraiser: Reporter,
): void {
  const { revocationGrace: grace } = demands;
  const now = values.at;
  if (grace === 'skip') {
    appraiser.notAsked('demand.revocation', 'skipped, as the broker is set up: revoked keys are not found');
    return;
  }
  const { status, asOf } = revocation;
  const age = asOf === undefined ? Number.POSITIVE_INFINITY : now - Date.parse(asOf);
  appraiser.report('demand.revocation', status === 'good' && age <= grace, {
    expected: `not revoked, as of ${timeText(now - grace)} or later`,
    found: { good: `not revoked, as of ${asOf}`, revoked: 'revoked', unknown: 'no list to ask' }[status],
  });
}

/** Only a document that knows the measurement and is in force may speak of its ID key and host data. */
function appraiseMeasurement(
  claims: SnpClaims,
  fits: readonly MeasuredFit[],
  { demands }: Context,
  appraiser: Reporter,
): void {
  const { measurement } = claims;
  const inForce = fits.filter(({ inForce: holds }) => holds);
  const [best] = [...inForce].sort((a, b) => a.misfits.length - b.misfits.length);
  if (demands.measurement === 'any' && best === undefined) {
    const hint = 'any measurement is accepted, as the broker is set up';
    for (const id of [
      'demand.measurement',
      'demand.reference-validity',
      'demand.id-key',
      'demand.host-data',
    ] as const)
      appraiser.notAsked(id, hint);
    return;
  }
  appraiser.report('demand.measurement', fits.length > 0, {
    expected: 'a measurement of the reference values',
    found: fits[0] === undefined ? measurement : `${measurement}, of ${fits[0].text}`,
  });
  appraiser.report('demand.reference-validity', best !== undefined, {
    expected: 'a reference value in force',
    found: best?.text ?? (fits.map(({ text }) => text).join('; ') || 'none that knows it'),
  });
  for (const [id, kinds] of [
    ['demand.id-key', ['idKeyDigests', 'authorKeyDigests']],
    ['demand.host-data', ['hostData']],
  ] as const) {
    const asked = kinds.filter((kind) => best?.set.document[kind] !== undefined);
    if (best === undefined || asked.length === 0) {
      appraiser.notAsked(id, `list ${kinds.join(' or ')} in the reference values that know the measurement`);
      continue;
    }
    const misfits = best.misfits.filter(({ kind }) => (kinds as readonly string[]).includes(kind));
    appraiser.report(id, misfits.length === 0, {
      expected: `one of ${best.text}`,
      found: misfits.map(({ found }) => found).join(', ') || 'one of them',
    });
  }
}

/** An ended document of floors denies: to drop a floor because nobody renewed it would open what it closed. */
function appraiseTcb(
  { tcb, productLine }: SnpClaims,
  { sets, at }: ReferenceValues,
  appraiser: Reporter,
): void {
  const floors = sets
    .filter(({ standing }) => standing === 'in-force' || standing === 'ended')
    .flatMap((set) => (set.document.tcbFloors ?? []).map((floor) => ({ ...floor, set })))
    .filter((floor) => holdsAt(floor, Math.min(at, Date.parse(floor.set.document.notAfter))));
  if (floors.length === 0) {
    appraiser.notAsked('demand.tcb', 'publish reference values with tcbFloors');
    return;
  }
  const own = floors.filter((floor) => productLine === undefined || floor.productLine === productLine);
  const broken = own.filter(
    ({ set, reported }) =>
      set.standing === 'ended' ||
      productLine === undefined ||
      !tcbAtLeast(tcb.reported, definedFloor(reported)).ok,
  );
  const shown = broken[0] ?? own[0];
  appraiser.report('demand.tcb', broken.length === 0, {
    expected: shown === undefined ? `no floor for ${productLine}` : brokenText(shown),
    found: `${productLine ?? 'an unknown product line'}, ${formatTcb(tcb.reported)}`,
  });
}

function brokenText({ set, ...floor }: TcbFloorReference & { readonly set: ReferenceSet }): string {
  const { document, standing } = set;
  const ended = standing === 'ended' ? `, which ended ${document.notAfter}: publish a new version` : '';
  return `${floorText(floor)}, of ${referenceName(document)} ${document.version}${ended}`;
}

/** The measurement before launch was compared with the owner's images; reports come with SEV-SNP. */
function appraisePreLaunch({ launch }: PreLaunchClaims, appraiser: Reporter): void {
  appraiser.report('demand.measurement', launch !== undefined, {
    expected: 'a launch that the owner expects',
    found: launch ?? 'no launch that was measured',
  });
  for (const id of Object.keys(demandChecks) as DemandCheck[]) {
    if (['demand.evidence', 'demand.root', 'demand.measurement'].includes(id)) continue;
    appraiser.notAsked(id, 'SEV and SEV-ES have none of this: see the checks of the launch');
  }
}
