import { checkTable } from '@vouchsafe/sev';

/** What `verifyRecord` looks at. */
export const recordChecks = checkTable({
  'record.chain': {
    title: 'entries linked without gaps',
    protects: 'an entry could be changed, taken out, or put in later',
    hint: 'the record was edited or truncated: compare it with an export or a copy from before',
    kind: 'authenticity',
  },
  'record.sealed': {
    title: 'entries written by this broker',
    protects: 'a chain could be computed anew around a changed entry',
    hint: 'somebody without the broker’s keys wrote it: compare the record with an export or a copy from before',
    kind: 'authenticity',
  },
  'record.clock': {
    title: 'time never goes back within a chain',
    protects: 'entries could be written under a clock that was set back, and look older than they are',
    hint: 'look for the entry that says the clock was accepted, and ask who did that',
    kind: 'authenticity',
  },
  'record.heads': {
    title: 'chains as long as they were',
    protects: 'the newest entries of a chain could be cut off',
    hint: 'the record was truncated: compare it with an export or a copy from before',
    kind: 'authenticity',
  },
  'record.checkpoints': {
    title: 'checkpoints signed and numbered without gaps',
    protects: 'a checkpoint that contradicts the record could be taken out or replaced',
    hint: 'checkpoints were edited: compare them with the outside copy',
    kind: 'authenticity',
  },
  'record.joined': {
    title: 'chains as the checkpoints know them',
    protects: 'one replica’s chain could be rolled back or left out while the others go on',
    hint: 'the chain was replaced after the checkpoint: compare it with an export or a copy from before',
    kind: 'authenticity',
  },
  'record.state': {
    title: 'secrets, policies, reference values and keys as the record tells',
    protects:
      'single tables could be rolled back, so that what was used up, disabled, replaced or revoked counts again',
    hint: 'rows were edited or restored by hand: set right what is named, and ask who did that',
    kind: 'authenticity',
  },
  'record.outside': {
    title: 'newest outside checkpoint in the database',
    protects: 'the whole database could be replaced by an old copy of itself',
    hint: 'an old copy of the database was restored, or the outside copy is another database’s',
    kind: 'expectation',
  },
});

export type RecordCheck = keyof typeof recordChecks;

/** What is wrong, of which the first few are told. */
export class Findings {
  readonly #texts: string[] = [];
  #count = 0;

  add(text: string): void {
    this.#count++;
    if (this.#texts.length < 5) this.#texts.push(text);
  }

  get isEmpty(): boolean {
    return this.#count === 0;
  }

  toString(): string {
    const more = this.#count - this.#texts.length;
    return [...this.#texts, ...(more > 0 ? [`and ${more} more`] : [])].join('; ');
  }
}
