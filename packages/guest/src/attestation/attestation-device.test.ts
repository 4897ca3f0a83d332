import { buildCertificateTable, certificateTableGuids, concat, statusCodes } from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import { RequestRefusedError, withoutPadding } from './attestation-device.js';

const { ARK, VCEK } = certificateTableGuids;
const table = buildCertificateTable([
  { guid: VCEK, bytes: new Uint8Array(100).fill(1) },
  { guid: ARK, bytes: new Uint8Array(50).fill(2) },
]);

describe('the host’s table', () => {
  it('is given without the padding behind it', () => {
    expect(withoutPadding(concat(table, new Uint8Array(4096 - table.length)))).toEqual(table);
    expect(withoutPadding(table)).toEqual(table);
  });

  it('ends behind the last certificate, wherever its entry stands', () => {
    const reordered = table.slice();
    reordered.copyWithin(0, 24, 48);
    reordered.set(table.subarray(0, 24), 24);
    expect(withoutPadding(concat(reordered, new Uint8Array(10)))).toEqual(reordered);
  });

  it('that is empty is none', () => {
    expect(withoutPadding(new Uint8Array(4096))).toBeUndefined();
    expect(withoutPadding(new Uint8Array(0))).toBeUndefined();
  });

  it('that is none is passed on whole, for the verifier to refuse', () => {
    const broken = concat(table.subarray(0, 40), new Uint8Array(8).fill(0xff));
    expect(withoutPadding(broken)).toEqual(broken);
  });
});

describe('a refusal of the firmware', () => {
  it('says what it was, and what may be asked instead', () => {
    const key = new RequestRefusedError('key', statusCodes.INVALID_PARAM);
    expect(key.message).toBe(
      'the firmware gives no such key: INVALID_PARAM (0x16): a parameter is not acceptable, or reserved bytes are not zero',
    );
    expect(key.hint).toContain('cannot be above');
    const report = new RequestRefusedError('report', statusCodes.INVALID_KEY);
    expect(report.hint).toContain('VLEK');
    const untold = new RequestRefusedError('report', undefined);
    expect([untold.message, untold.status]).toEqual(['the firmware gives no such report', undefined]);
    expect(untold.hint).toContain('privilege level');
  });
});
