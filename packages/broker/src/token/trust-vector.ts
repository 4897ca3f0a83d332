/** The claims of a trustworthiness vector (AR4SI, draft-ietf-rats-ar4si-10, section 2.3): each a signed byte. */
export const trustClaims = [
  'instance-identity',
  'configuration',
  'executables',
  'file-system',
  'hardware',
  'runtime-opaque',
  'storage-opaque',
  'sourced-data',
] as const;
export type TrustClaim = (typeof trustClaims)[number];

/** What an appraisal made of each part of the attester; what is left out was not appraised. */
export type TrustVector = { readonly [K in TrustClaim]?: number };

/** From the best to the worst. */
export const trustTiers = ['none', 'affirming', 'warning', 'contraindicated'] as const;
export type TrustTier = (typeof trustTiers)[number];

/** The tier of one claim's value (AR4SI, section 2.3.2). */
export function tierOf(value: number): TrustTier {
  if (value >= -1 && value <= 1) return 'none';
  // The two sides mirror each other around −½.
  const distance = value < 0 ? -value - 1 : value;
  if (distance <= 31) return 'affirming';
  return distance <= 95 ? 'warning' : 'contraindicated';
}

/** The status of a submodule: the worst tier of its claims. */
export function statusOf(vector: TrustVector): TrustTier {
  const ranks = Object.values(vector).map((value) => trustTiers.indexOf(tierOf(value)));
  return trustTiers[Math.max(0, ...ranks)]!;
}
