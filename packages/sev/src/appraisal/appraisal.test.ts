import { describe, expect, test } from 'vitest';
import { MalformedError } from '../errors.js';
import {
  type Appraisal,
  Appraiser,
  appraisalToJson,
  type Check,
  type CheckStatus,
  RefusedError,
  requireAccepted,
  verdict,
} from './appraisal.js';
import { checkTable } from './checks.js';

const table = checkTable({
  'thing.signature': {
    title: 'Signature',
    protects: 'forgery',
    hint: 'get a genuine one',
    kind: 'authenticity',
  },
  'thing.colour': { title: 'Colour', protects: 'mix-ups', hint: 'paint it', kind: 'expectation' },
});
const begin = () => new Appraiser('thing', table);
const good = { expected: 'valid', found: 'valid' };
const malformed = new MalformedError({ structure: 's', field: 'f', offset: 1, expected: 'a', found: 'b' });

function appraisalOf(...checks: [CheckStatus, Check['kind']][]): Appraisal {
  return {
    subject: 'thing',
    checks: checks.map(([status, kind], i) => ({ id: `c.${i}`, title: 'T', status, kind })),
  };
}

describe('verdict', () => {
  test.each<[string, Appraisal]>([
    ['accepted', appraisalOf(['pass', 'authenticity'], ['pass', 'expectation'])],
    ['authentic', appraisalOf(['pass', 'authenticity'], ['not-asked', 'expectation'])],
    ['refused', appraisalOf(['pass', 'authenticity'], ['fail', 'expectation'])],
    ['refused', appraisalOf(['fail', 'authenticity'], ['pass', 'expectation'])],
    ['refused', appraisalOf(['not-asked', 'authenticity'])],
    ['refused', appraisalOf()],
    ['refused', appraisalOf(['pass', 'authenticity'], ['PASS' as CheckStatus, 'expectation'])],
  ])('%s', (word, appraisal) => {
    expect(verdict(appraisal)).toMatchObject({ word, accepted: word !== 'refused' });
  });
});

describe('an appraiser', () => {
  test('reports in the order of the table', () => {
    const appraiser = begin();
    appraiser.report('thing.colour', true, { expected: 'red', found: 'red' });
    appraiser.report('thing.signature', true, good);
    const appraisal = appraiser.finish();
    expect(appraisal.checks.map(({ id }) => id)).toEqual(['thing.signature', 'thing.colour']);
    expect(verdict(appraisal).word).toBe('accepted');
    expect(appraisal.root).toBeUndefined();
  });

  test('fails what was never reported', () => {
    const appraiser = begin();
    appraiser.report('thing.signature', true, good);
    const { checks } = appraiser.finish();
    expect(checks[1]).toMatchObject({
      id: 'thing.colour',
      status: 'fail',
      found: 'the check did not run',
      hint: 'paint it',
    });
  });

  test('fails what it was told to abandon, and keeps what was known', () => {
    const appraiser = begin();
    appraiser.report('thing.signature', true, good);
    appraiser.abandon('the thing is gone');
    expect(appraiser.finish().checks.map(({ status, found }) => [status, found])).toEqual([
      ['pass', 'valid'],
      ['fail', 'the thing is gone'],
    ]);
  });

  test('fails a check whose work throws one of our errors', async () => {
    const appraiser = begin();
    expect(await appraiser.attempt('thing.signature', 'valid', () => Promise.reject(malformed))).toBe(false);
    expect(appraiser.finish().checks[0]).toMatchObject({
      status: 'fail',
      expected: 'valid',
      found: malformed.message,
    });
  });

  test('lets a fault of ours through, and does not call it a pass', async () => {
    const appraiser = begin();
    await expect(
      appraiser.attempt('thing.signature', 'valid', () => Promise.reject(new TypeError('oops'))),
    ).rejects.toThrow('oops');
    expect(appraiser.finish().checks[0]?.status).toBe('fail');
  });

  test('runs work and reports it', async () => {
    const appraiser = begin();
    const work = async () => ({ passed: false, found: 'green', hint: 'only red will do' });
    expect(await appraiser.attempt('thing.colour', 'red', work)).toBe(false);
    expect(appraiser.finish().checks[1]).toMatchObject({
      expected: 'red',
      found: 'green',
      hint: 'only red will do',
    });
  });

  test('a pass carries no hint, a check not asked says how to ask', () => {
    const appraiser = begin();
    expect(appraiser.report('thing.signature', true, good)).toBe(true);
    appraiser.notAsked('thing.colour', 'give --colour');
    const [signature, colour] = appraiser.finish().checks;
    expect(signature).not.toHaveProperty('hint');
    expect(colour).toMatchObject({ status: 'not-asked', hint: 'give --colour' });
  });

  test('a result cannot be replaced by a better one', () => {
    const appraiser = begin();
    appraiser.report('thing.signature', false, { expected: 'valid', found: 'broken' });
    expect(() => appraiser.report('thing.signature', true, good)).toThrow(TypeError);
    expect(() => appraiser.notAsked('thing.signature', 'never mind')).toThrow(TypeError);
  });

  test('carries the root', () => {
    const root = { name: 'Vouchsafe Development, Milan', kind: 'development', fingerprint: 'ab' } as const;
    expect(begin().finish(root).root).toEqual(root);
  });
});

describe('what callers see', () => {
  test('an accepted appraisal comes back, another is thrown with the first failure', () => {
    const accepted = appraisalOf(['pass', 'authenticity']);
    expect(requireAccepted(accepted)).toBe(accepted);
    const appraiser = begin();
    appraiser.report('thing.signature', false, { expected: 'valid', found: 'broken' });
    const refused = appraiser.finish();
    const error = new RefusedError(refused);
    expect(error).toMatchObject({ code: 'refused', hint: 'get a genuine one', appraisal: refused });
    expect(error.message).toBe('thing refused: Signature (thing.signature): expected valid, found broken');
    expect(() => requireAccepted(refused)).toThrow(RefusedError);
    expect(() => requireAccepted(appraisalOf())).toThrow('thing refused: nothing was checked');
  });

  test('the JSON has the members that scripts rely on', () => {
    const appraiser = begin();
    appraiser.report('thing.signature', true, good);
    appraiser.notAsked('thing.colour', 'give --colour');
    expect(appraisalToJson(appraiser.finish())).toEqual({
      accepted: true,
      root: null,
      checks: [
        { id: 'thing.signature', status: 'pass', expected: 'valid', found: 'valid' },
        { id: 'thing.colour', status: 'not-asked', hint: 'give --colour' },
      ],
    });
  });
});
