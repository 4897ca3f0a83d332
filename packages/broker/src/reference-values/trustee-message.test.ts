import { toBase64 } from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import { hex, testNow } from '../testing/questions.js';
import { namedReferenceValue, referenceValuesAt } from './in-force.js';
import { nextTrusteeDocument } from './trustee-message.js';

const message = (values: unknown, changes: Readonly<Record<string, unknown>> = {}) => ({
  version: '0.1.0',
  type: 'sample',
  payload: toBase64(new TextEncoder().encode(typeof values === 'string' ? values : JSON.stringify(values))),
  ...changes,
});
const by = { issuer: 'broker', now: testNow };

describe('values that come through Trustee’s endpoint', () => {
  it('become a document of the broker’s, for a year', () => {
    const document = nextTrusteeDocument(
      message({ snp_bootloader: [3, 4], snp_smt_enabled: true }),
      undefined,
      by,
    );
    expect(document).toEqual({
      format: 'vouchsafe-reference-values/1',
      issuer: 'broker',
      name: 'trustee',
      version: 1,
      notBefore: '2026-11-15T12:00:00.000Z',
      notAfter: '2027-11-15T12:00:00.000Z',
      values: { snp_bootloader: [3, 4], snp_smt_enabled: true },
    });
    const valueAt = (name: string, now: number) =>
      namedReferenceValue(referenceValuesAt([document], now), name);
    expect(valueAt('snp_bootloader', testNow)).toEqual([3, 4]);
    expect(valueAt('toString', testNow)).toBeUndefined();
    // In Trustee, values stay good for ever.
    expect(valueAt('snp_bootloader', Date.parse('2027-11-15T12:00:01Z'))).toBeUndefined();
  });

  it('are added to those before, in the next version', () => {
    const first = nextTrusteeDocument(message({ a: 1, b: 2 }), undefined, by);
    const second = nextTrusteeDocument(message({ b: 3 }), first, by);
    expect(second).toMatchObject({ version: 2, values: { a: 1, b: 3 } });
  });

  it('are known measurements, where they are digests of launches', () => {
    const values = { snp_launch_measurement: [hex(48, 'a'), hex(32, 'b'), 7, hex(48, '0')] };
    expect(nextTrusteeDocument(message(values), undefined, by).measurements).toEqual([
      { value: hex(48, 'a') },
    ]);
    expect(
      nextTrusteeDocument(message({ snp_launch_measurement: hex(48, 'a') }), undefined, by).measurements,
    ).toEqual([{ value: hex(48, 'a') }]);
  });

  it('stand side by side with those of other documents, where both are lists', () => {
    const first = nextTrusteeDocument(message({ list: [1], single: 1 }), undefined, by);
    const other = { ...nextTrusteeDocument(message({ list: [2], single: 2 }), undefined, by), name: 'other' };
    const values = referenceValuesAt([first, other], testNow);
    expect(namedReferenceValue(values, 'list')).toEqual([1, 2]);
    expect(namedReferenceValue(values, 'single')).toBeUndefined();
  });

  it.each<[string, unknown, RegExp]>([
    ['another type', message({ a: 1 }, { type: 'swid' }), /messages of type swid are not understood/],
    ['another version', message({ a: 1 }, { version: '0.2.0' }), /expected \{"version"/],
    [
      'provenance instead of payload',
      { version: '0.1.0', type: 'sample', provenance: '' },
      /expected \{"version"/,
    ],
    ['a member more', message({ a: 1 }, { extra: 1 }), /expected \{"version"/],
    ['no message', null, /expected \{"version"/],
    ['a payload that is no base64', message({}, { payload: '%' }), /payload/],
    ['a payload that is no text', message({}, { payload: 'Iv8i' }), /text in UTF-8/],
    ['a payload that is no JSON', message('{'), /not JSON/],
    ['a payload with a name twice', message('{"a":1,"a":2}'), /a member twice/],
    ['a payload that is a list', message([1]), /expected an object/],
    ['a payload that is a number', message(1), /expected an object/],
    ['a payload that is null', message(null), /expected an object/],
    ['a payload with a name that is empty', message({ '': 1 }), /reference values\.values/],
  ])('are refused with %s', (_, value, text) => {
    expect(() => nextTrusteeDocument(value, undefined, by)).toThrow(text);
  });
});
