/**
 * What was done last to things that change back and forth. Replicas' clocks do not say who came last among them, so for
 * each thing the last act of every replica counts.
 */
export class LastActs {
  readonly #acts = new Map<string, Map<string, string>>();

  /** Entries of one replica must come in their order. */
  note(replica: string, thing: string, value: string): void {
    const acts = this.#acts.get(thing) ?? new Map<string, string>();
    this.#acts.set(thing, acts.set(replica, value));
  }

  /** What a thing may be by the record; empty when nothing was ever done to it. */
  of(thing: string): ReadonlySet<string> {
    return new Set(this.#acts.get(thing)?.values());
  }
}
