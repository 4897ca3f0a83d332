/** How often something may be asked for by one party: `burst` at once, refilled at `perMinute`. */
export interface RateLimit {
  readonly perMinute: number;
  readonly burst: number;
}

export interface TokenBuckets {
  /** Takes one; otherwise says in how many whole seconds there will be one again. */
  take(
    key: string,
    now: number,
  ): { readonly taken: true } | { readonly taken: false; readonly after: number };
}

/**
 * A bucket for each key, in this process alone: each replica admits its own share. Keys that were quiet for long enough
 * to be full again are forgotten, and so are the quietest when there are too many.
 * @param most keys remembered at one time
 */
export function tokenBuckets({ perMinute, burst }: RateLimit, most = 10_000): TokenBuckets {
  const perMillisecond = perMinute / 60_000;
  /** In the order in which they were last asked. */
  const buckets = new Map<string, { level: number; at: number }>();

  function forget(now: number): void {
    for (const [key, { level, at }] of buckets) {
      const full = level + (now - at) * perMillisecond >= burst;
      if (!full && buckets.size <= most) break;
      buckets.delete(key);
    }
  }

  return {
    take(key, now) {
      const { level, at } = buckets.get(key) ?? { level: burst, at: now };
      const passed = Math.max(0, now - at);
      const available = Math.min(burst, level + passed * perMillisecond);
      const taken = available >= 1;
      buckets.delete(key);
      buckets.set(key, { level: taken ? available - 1 : available, at: Math.max(at, now) });
      forget(now);
      return taken
        ? { taken }
        : { taken, after: Math.max(1, Math.ceil((1 - available) / perMillisecond / 1000)) };
    },
  };
}
