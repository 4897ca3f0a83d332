import { describe, expect, it } from 'vitest';
import { benchmarks } from './index.js';
import { measure } from './measure.js';

describe('each benchmark runs, on both sides', () => {
  it.each(benchmarks.map((each) => [each.name, each] as const))('%s', async (name, { make }) => {
    const benchmark = { name, ...(await make()) };
    try {
      const { value, raw, ratio } = await measure(benchmark, { rounds: 1, sliceMs: 1, cold: true });
      for (const number of [value, raw, ratio]) expect(number).toBeGreaterThan(0);
    } finally {
      await benchmark.close?.();
    }
  });
});
