import { describe, expect, it } from 'vitest';
import { measure, median } from './measure.js';

const spin = (ms: number) => {
  const end = performance.now() + ms;
  while (performance.now() < end);
};

describe('a measurement', () => {
  it('runs both sides by turns and gives rates', async () => {
    const order: string[] = [];
    const side = (name: string, ms: number) => () => {
      order.push(name);
      spin(ms);
    };
    const result = await measure(
      { name: 'spin', unit: 'MiB/s', amount: 4, ours: side('ours', 4), raw: side('raw', 2) },
      { rounds: 4, sliceMs: 1 },
    );
    expect(order.slice(4)).toEqual(['ours', 'raw', 'raw', 'ours', 'ours', 'raw', 'raw', 'ours']);
    expect(result).toMatchObject({ name: 'spin', unit: 'MiB/s' });
    expect(result.value).toBeLessThanOrEqual(1000);
    expect(result.raw).toBeLessThanOrEqual(2000);
    expect(result.ratio).toBeCloseTo(result.value / result.raw);
  });

  it('takes the median', () => {
    expect(median([9, 1, 5])).toBe(5);
    expect(median([4, 1, 3, 2])).toBe(2.5);
  });
});
