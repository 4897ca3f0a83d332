import { refuseState } from './checks.js';
import { isoTime } from './database.js';

/** Time that does not go back. */
export interface BrokerClock {
  /**
   * Milliseconds since 1970. Stands still while the clock is a little behind what was seen.
   * @throws RefusedError (`broker.clock`) when it is further behind
   */
  now(): number;
}

/** Clocks of replicas differ, and time services set them back a little: so far, in milliseconds, the broker waits. */
const tolerance = 60_000;

/** @param highest time that the state has seen, in milliseconds since 1970 */
export function brokerClock(source: () => number, highest: number): BrokerClock {
  let latest = highest;
  return {
    now() {
      const time = source();
      if (latest - time > tolerance) {
        refuseState('clock', 'broker.clock', {
          expected: `${isoTime(latest)} or later`,
          found: isoTime(time),
        });
      }
      latest = Math.max(latest, time);
      return latest;
    },
  };
}
