import type { DigestReference, ReferenceDocument, ReferencePeriod } from './document.js';

/**
 * `in-force`: the newest version that has begun, within its period. `future`: not begun. `ended`: the newest that has
 * begun, and its period is over. `superseded`: a newer version has begun.
 */
export type ReferenceStanding = 'in-force' | 'future' | 'ended' | 'superseded';

/** A verified document, and whether it counts. */
export interface ReferenceSet {
  readonly document: ReferenceDocument;
  readonly standing: ReferenceStanding;
}

/** All known reference values at one moment. */
export interface ReferenceValues {
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly sets: readonly ReferenceSet[];
}

/** Which versions of verified documents count at a moment. The caller vouches for the documents. */
export function referenceValuesAt(documents: readonly ReferenceDocument[], at: number): ReferenceValues {
  const newest = new Map<string, number>();
  for (const document of documents) {
    if (Date.parse(document.notBefore) > at) continue;
    const key = referenceName(document);
    newest.set(key, Math.max(newest.get(key) ?? 0, document.version));
  }
  const standingOf = (document: ReferenceDocument): ReferenceStanding => {
    if (Date.parse(document.notBefore) > at) return 'future';
    if (document.version !== newest.get(referenceName(document))) return 'superseded';
    return Date.parse(document.notAfter) >= at ? 'in-force' : 'ended';
  };
  return { at, sets: documents.map((document) => ({ document, standing: standingOf(document) })) };
}

/** `issuer/name`: what policies call a document by. */
export function referenceName({ issuer, name }: Pick<ReferenceDocument, 'issuer' | 'name'>): string {
  return `${issuer}/${name}`;
}

/** Whether one value of a document that is in force holds at a moment. */
export function holdsAt({ notBefore, notAfter }: ReferencePeriod, at: number): boolean {
  return (
    (notBefore === undefined || Date.parse(notBefore) <= at) &&
    (notAfter === undefined || at <= Date.parse(notAfter))
  );
}

/** The launch digests of SEV and SEV-ES that documents of these names list and that hold now. */
export function launchDigestsOf(
  { sets, at }: ReferenceValues,
  names: readonly string[],
): readonly DigestReference[] {
  return sets
    .filter(({ standing, document }) => standing === 'in-force' && names.includes(referenceName(document)))
    .flatMap(({ document }) => document.launchDigests ?? [])
    .filter((each) => holdsAt(each, at));
}

/** The value that a name stands for in documents in force; undefined when there is none. */
export function namedReferenceValue({ sets }: ReferenceValues, name: string): unknown {
  const found = sets.filter(
    ({ standing, document }) => standing === 'in-force' && Object.hasOwn(document.values ?? {}, name),
  );
  const values = found.map(({ document }) => document.values?.[name]);
  if (values.length < 2) return values[0];
  // What several documents say side by side is known side by side; a choice between single values would be arbitrary.
  return values.every(Array.isArray) ? values.flat() : undefined;
}
