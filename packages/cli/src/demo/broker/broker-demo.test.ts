import { beforeAll, expect, it, onTestFinished } from 'vitest';
import { denialsOf, type ExplanationAnswer } from '../../commands/broker/explain.js';
import { demoAuthority } from '../../testing/demo-authority.js';
import { build, runProcess } from '../../testing/process.js';
import type { NarrationEvent } from '../narration.js';

beforeAll(build);

/** Many processes take turns on a busy computer. Milliseconds. */
const timeout = 300_000;

interface Document {
  readonly accepted: boolean;
  readonly events: readonly NarrationEvent[];
  readonly seen: readonly { readonly subject: string; readonly host: string; readonly guest: string }[];
  readonly explanation: ExplanationAnswer;
}

it(
  'demo broker: a denial that only the owner can explain, then a release to the guest alone',
  { timeout },
  async () => {
    const authority = await demoAuthority();
    onTestFinished(authority.remove);
    const { exit, stdout, stderr } = await runProcess(['demo', 'broker', '--json', ...authority.option]);
    expect([exit, stderr]).toEqual([0, '']);
    const { accepted, events, seen, explanation } = JSON.parse(stdout) as Document;
    expect(accepted).toBe(true);

    const answers = events.filter((event) => event.kind === 'message' && event.to === 'guest');
    expect(answers.map((event) => event.kind === 'message' && [event.what, event.readableBy])).toEqual([
      ['challenge: a nonce', 'anyone'],
      ['attestation token: what the broker found', 'anyone'],
      ['no (403), and a number to ask about', 'anyone'],
      ['challenge: a nonce', 'anyone'],
      ['attestation token: what the broker found', 'anyone'],
      ['the disk key, encrypted to the guest’s key', 'the guest alone'],
    ]);

    const [denial] = denialsOf(explanation.entry);
    expect(denial).toMatchObject({
      rule: 'demand.measurement',
      found: expect.stringMatching(/^[0-9a-f]{96}$/),
      nearest: expect.stringMatching(/^[0-9a-f]{96}, owner\/images 1$/),
    });
    const learnt = seen.find(({ subject }) => subject === 'the reason of the denial');
    expect(learnt?.guest).toBe(`number ${explanation.entry.reference}, and nothing else`);
    for (const { what } of events.flatMap((event) => (event.kind === 'message' ? [event] : [])))
      expect(what).not.toContain(denial?.found);
  },
);
