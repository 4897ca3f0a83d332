/** What cold starts of short-lived machines came to. */
export interface ColdStarts {
  readonly starts: number;
  /** How many of them a broker gave a session. */
  readonly attested: number;
  /** Challenges asked for: one round of the protocol for each start. */
  readonly rounds: number;
  /** Milliseconds. */
  readonly coldStart: Spread;
  readonly attestation: Spread;
  /** Of attestation in its cold start, from 0 to 1. */
  readonly share: Spread;
  /** Requests to the key service. */
  readonly keyService: { readonly beforeFirst: number; readonly first: number; readonly later: number };
}

export interface Spread {
  readonly median: number;
  readonly p99: number;
}

/** Median and 99th percentile by nearest rank: values that were measured, none made up between them. */
export function spreadOf(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share: number) => sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN;
  return { median: at(0.5), p99: at(0.99) };
}
