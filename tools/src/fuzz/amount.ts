const full = process.env['VOUCHSAFE_FULL'] === '1';

/** Mutated inputs for each reader: enough to notice in the daily run, and many in `npm run test:full`. */
export const mutatedInputs = full ? 1_000_000 : 10_000;
export const timeoutMs = full ? 3_600_000 : 120_000;
