import { formatTcb, type TcbVersion, tcbAtLeast } from '@vouchsafe/sev';
import type { SnpClaims } from '../attestation/claims.js';
import { type DigestKind, type DigestReference, digestKinds, type TcbFloorReference } from './document.js';
import { holdsAt, type ReferenceSet, type ReferenceValues, referenceName } from './in-force.js';

/** A document that knows a guest's measurement. */
export interface MeasuredFit {
  readonly set: ReferenceSet;
  /** Document and value are both in force. */
  readonly inForce: boolean;
  /** The document in words, with its label for the measurement, and with its period where that is over or to come. */
  readonly text: string;
  /** What else the document asks of guests with this measurement, and this one has not. */
  readonly misfits: readonly { readonly kind: DigestKind; readonly found: string }[];
}

const claimOf: Readonly<Record<DigestKind, (claims: SnpClaims) => string | undefined>> = {
  measurements: ({ measurement }) => measurement,
  idKeyDigests: ({ idKeyDigest }) => idKeyDigest,
  authorKeyDigests: ({ authorKeyDigest }) => authorKeyDigest,
  hostData: ({ hostData }) => hostData,
};

/** The documents that know a measurement, but for those that a newer version replaced. */
export function measuredFits(claims: SnpClaims, { sets, at }: ReferenceValues): MeasuredFit[] {
  return sets
    .filter(({ standing }) => standing !== 'superseded')
    .flatMap((set) => {
      const known = (set.document.measurements ?? []).filter(({ value }) => value === claims.measurement);
      const reference = known.find((each) => holdsAt(each, at)) ?? known[0];
      if (reference === undefined) return [];
      const inForce = set.standing === 'in-force' && holdsAt(reference, at);
      const text = placeText({ set, reference }, at);
      return [{ set, inForce, text, misfits: misfitsOf(claims, set, at) }];
    });
}

/** The documents in force all of whose lists a guest fits, as `issuer/name`: what release policies may ask for. */
export function fittingReferences(claims: SnpClaims, { sets, at }: ReferenceValues): string[] {
  const fits = sets.filter((set) => {
    const { measurements = [], tcbFloors = [] } = set.document;
    const measured = measurements.length === 0 || isListed(measurements, claims.measurement, at);
    const floors = tcbFloors.filter((each) => each.productLine === claims.productLine && holdsAt(each, at));
    const reached =
      tcbFloors.length === 0 || (floors.length > 0 && floors.every((each) => reaches(claims, each)));
    return set.standing === 'in-force' && measured && misfitsOf(claims, set, at).length === 0 && reached;
  });
  return [...new Set(fits.map(({ document }) => referenceName(document)))];
}

function reaches({ tcb }: SnpClaims, { reported }: TcbFloorReference): boolean {
  return tcbAtLeast(tcb.reported, definedFloor(reported)).ok;
}

function isListed(list: readonly DigestReference[], value: string | undefined, at: number): boolean {
  return list.some((each) => each.value === value && holdsAt(each, at));
}

function misfitsOf(claims: SnpClaims, { document }: ReferenceSet, at: number) {
  const asked = digestKinds.filter((kind) => kind !== 'measurements' && document[kind] !== undefined);
  return asked.flatMap((kind) => {
    const found = claimOf[kind](claims);
    return isListed(document[kind] ?? [], found, at) ? [] : [{ kind, found: found ?? 'none' }];
  });
}

/** The reference values that a claim is compared with, by the claim's name. */
export const kindOfClaim: Readonly<Record<string, DigestKind>> = {
  measurement: 'measurements',
  idKeyDigest: 'idKeyDigests',
  authorKeyDigest: 'authorKeyDigests',
  hostData: 'hostData',
};

/**
 * The known reference value that comes nearest to a claim, and what tells them apart. A digest has no neighbours, so
 * nearness is: the very value, then the same in a version that was replaced, then one that was mistyped, then that of the
 * image with which the guest shares most.
 */
export function nearestReference(
  claims: SnpClaims,
  { sets, at }: ReferenceValues,
  kind: DigestKind,
): string | undefined {
  const found = claimOf[kind](claims);
  const candidates = sets
    .flatMap((set) => (set.document[kind] ?? []).map((reference) => ({ set, reference })))
    .sort((a, b) => b.set.document.version - a.set.document.version);
  const same = candidates.filter(({ reference }) => reference.value === found);
  const known = same.find(({ set }) => set.standing !== 'superseded');
  if (known !== undefined) return `${placeText(known, at)} knows it`;
  const [replaced] = same;
  if (replaced !== undefined) return `${placeText(replaced, at)} knew it; a newer version replaced that`;
  const [nearest] = candidates
    .filter(({ set }) => set.standing !== 'superseded')
    .map((each) => ({
      ...each,
      distance: found === undefined ? Number.POSITIVE_INFINITY : differingDigits(each.reference.value, found),
      shared: sharedKinds(claims, each.set, at),
    }))
    .sort((a, b) => typo(a) - typo(b) || b.shared.length - a.shared.length);
  if (nearest === undefined) return undefined;
  const { reference, distance, shared } = nearest;
  const what = `${reference.value}, ${placeText(nearest, at)}`;
  if (typo(nearest) < Number.POSITIVE_INFINITY)
    return `${what}, differs in ${distance} of ${reference.value.length} digits: was it mistyped?`;
  return shared.length === 0
    ? what
    : `${what}; the guest has its ${shared.map((each) => words[each]).join(' and ')}`;
}

interface Place {
  readonly set: ReferenceSet;
  readonly reference: DigestReference;
}

function placeText({ set, reference }: Place, at: number): string {
  return `${setText(set.document)}${labelText(reference)}${standingText(set, reference, at)}`;
}

/** The least TCB that the reference values in force ask of a guest's product line. */
export function nearestFloor({ productLine }: SnpClaims, { sets, at }: ReferenceValues): string | undefined {
  const floors = sets
    .filter(({ standing }) => standing === 'in-force')
    .flatMap((set) => (set.document.tcbFloors ?? []).map((floor) => ({ floor, set })));
  const own = floors.find(({ floor }) => floor.productLine === productLine && holdsAt(floor, at));
  return own && `${floorText(own.floor)}, ${setText(own.set.document)}`;
}

/** `Milan at least bootloader 4, snp 24` */
export function floorText({ productLine, reported }: TcbFloorReference): string {
  return `${productLine} at least ${formatTcb(definedFloor(reported))}`;
}

/** A floor without members that are there and undefined. */
export function definedFloor(floor: TcbFloorReference['reported']): Partial<TcbVersion> {
  return Object.fromEntries(Object.entries(floor).filter(([, value]) => value !== undefined));
}

const words: Readonly<Record<DigestKind, string>> = {
  measurements: 'measurement',
  idKeyDigests: 'ID key',
  authorKeyDigests: 'author key',
  hostData: 'host data',
};

/** Two digests of different inputs agree in about six of 96 digits; more than half in common is a slip of the hand. */
function typo({ distance, reference }: Pick<Place, 'reference'> & { readonly distance: number }): number {
  return distance * 2 < reference.value.length ? distance : Number.POSITIVE_INFINITY;
}

function differingDigits(a: string, b: string): number {
  return [...a].filter((digit, i) => digit !== b[i]).length;
}

function sharedKinds(claims: SnpClaims, { document }: ReferenceSet, at: number): DigestKind[] {
  return digestKinds.filter((kind) => isListed(document[kind] ?? [], claimOf[kind](claims), at));
}

function setText({ version, ...document }: ReferenceSet['document']): string {
  return `${referenceName(document)} ${version}`;
}

function labelText({ label }: DigestReference): string {
  return label === undefined ? '' : ` (${label})`;
}

function standingText({ standing, document }: ReferenceSet, reference: DigestReference, at: number): string {
  if (standing === 'future') return `, which begins ${document.notBefore}`;
  if (standing === 'ended') return `, which ended ${document.notAfter}`;
  const { notBefore, notAfter } = reference;
  if (notBefore !== undefined && Date.parse(notBefore) > at) return `, which begins ${notBefore}`;
  if (notAfter !== undefined && Date.parse(notAfter) < at) return `, which ended ${notAfter}`;
  return '';
}
