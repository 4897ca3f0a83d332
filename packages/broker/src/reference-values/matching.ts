import { type TcbVersion, tcbAtLeast } from '@vouchsafe/sev';
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
      const text = `${setText(set.document)}${labelText(reference)}${inForce ? '' : standingText(set, reference, at)}`;
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
  const floor = Object.fromEntries(Object.entries(reported).filter(([, value]) => value !== undefined));
  return tcbAtLeast(tcb.reported, floor as Partial<TcbVersion>).ok;
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

/**
 * The known measurement that comes nearest to an unknown one, and what tells them apart. A digest has no neighbours, so
 * nearness is: the same value in a version that was replaced, then one that was mistyped, then the image whose ID key,
 * author key and host data the guest shares.
 */
export function nearestMeasurement(claims: SnpClaims, { sets, at }: ReferenceValues): string | undefined {
  const { measurement } = claims;
  const candidates = sets.flatMap((set) =>
    (set.document.measurements ?? []).map((reference) => ({ set, reference })),
  );
  const replaced = candidates
    .filter(({ set, reference }) => set.standing === 'superseded' && reference.value === measurement)
    .sort((a, b) => b.set.document.version - a.set.document.version)[0];
  if (replaced !== undefined) {
    const { set, reference } = replaced;
    return `${setText(set.document)}${labelText(reference)} knew it; a newer version replaced that`;
  }
  const known = candidates
    .filter(({ set }) => set.standing !== 'superseded')
    .map(({ set, reference }) => ({
      set,
      reference,
      distance: differingDigits(reference.value, measurement),
      shared: sharedKinds(claims, set, at),
    }))
    .sort((a, b) => typo(a) - typo(b) || b.shared.length - a.shared.length);
  const [nearest] = known;
  if (nearest === undefined) return undefined;
  const { set, reference, distance, shared } = nearest;
  const what = `${reference.value}, ${setText(set.document)}${labelText(reference)}${standingText(set, reference, at)}`;
  if (typo(nearest) < Number.POSITIVE_INFINITY)
    return `${what}, differs in ${distance} of ${measurement.length} digits: was it mistyped?`;
  return shared.length === 0
    ? what
    : `${what}; the guest has its ${shared.map((kind) => words[kind]).join(' and ')}`;
}

const words: Readonly<Record<DigestKind, string>> = {
  measurements: 'measurement',
  idKeyDigests: 'ID key',
  authorKeyDigests: 'author key',
  hostData: 'host data',
};

/** Two digests of different inputs agree in about six of 96 digits; more than half in common is a slip of the hand. */
function typo({ distance, reference }: { distance: number; reference: DigestReference }): number {
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
