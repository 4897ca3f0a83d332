/** One operation of ours beside the bare primitives that it cannot do without. */
export interface Benchmark {
  readonly name: string;
  /** What is counted, a rate: `verifications/s`, `MiB/s`. More is better. */
  readonly unit: string;
  /** Units in one call: 1 for an operation, 64 for 64 MiB. */
  readonly amount: number;
  ours(): Promise<unknown> | unknown;
  /** The primitives on the same inputs, as directly as the platform offers them. */
  raw(): Promise<unknown> | unknown;
  /** Milliseconds that ours takes to come to its pace: a server of its own compiles what it does often. */
  readonly warmUpMs?: number;
  /** What else there is to say once both sides have run: the times of single operations, what binds. */
  notes?(): readonly string[];
  close?(): Promise<unknown> | unknown;
}

export interface Measurement {
  readonly name: string;
  readonly unit: string;
  /** Ours: median over the rounds. */
  readonly value: number;
  /** The primitives: median over the rounds. */
  readonly raw: number;
  /** Ours to raw: 1 is as fast as the primitives alone. */
  readonly ratio: number;
  readonly notes: readonly string[];
}

export interface MeasureOptions {
  readonly rounds: number;
  /** How long one side of one round should take. */
  readonly sliceMs: number;
  /** Measures at once what is not at its pace yet. */
  readonly cold?: boolean;
}

/**
 * Runs both sides by turns, so that what else the machine does slows both. Who begins changes with each round, and the
 * medians are over the rounds.
 */
export async function measure(
  benchmark: Benchmark,
  { rounds, sliceMs, cold = false }: MeasureOptions,
): Promise<Measurement> {
  const warm = performance.now() + (cold ? 0 : (benchmark.warmUpMs ?? 0));
  while (performance.now() < warm) await benchmark.ours();
  const sides = [() => benchmark.ours(), () => benchmark.raw()] as const;
  const calls = [await callsIn(sides[0], sliceMs), await callsIn(sides[1], sliceMs)] as const;
  const rates: [number[], number[]] = [[], []];
  for (let round = 0; round < rounds; round++) {
    for (const side of round % 2 === 0 ? ([0, 1] as const) : ([1, 0] as const)) {
      const ms = await timeOf(sides[side], calls[side]);
      rates[side].push((benchmark.amount * calls[side] * 1000) / ms);
    }
  }
  const [value, raw] = [median(rates[0]), median(rates[1])];
  const notes = benchmark.notes?.() ?? [];
  return { name: benchmark.name, unit: benchmark.unit, value, raw, ratio: value / raw, notes };
}

/** The second call counts: the first pays for compiling. */
async function callsIn(work: () => unknown, sliceMs: number): Promise<number> {
  await timeOf(work, 1);
  return Math.max(1, Math.round(sliceMs / (await timeOf(work, 1))));
}

async function timeOf(work: () => unknown, calls: number): Promise<number> {
  const began = performance.now();
  for (let i = 0; i < calls; i++) await work();
  return performance.now() - began;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
