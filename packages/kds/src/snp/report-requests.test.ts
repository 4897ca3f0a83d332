import { InvalidArgumentError } from '@vouchsafe/sev';
import { expect, test } from 'vitest';
import { chipIdOf, tcbOf } from '../testing/snp-chip.js';
import { endorsementPath } from './endorsement-request.js';
import { type EndorsedReport, requestsForReport } from './report-requests.js';

const report = (changes: Partial<EndorsedReport> = {}, signingKey: 'VCEK' | 'VLEK' | 'none' = 'VCEK') => ({
  line: 'Milan' as const,
  chipId: chipIdOf('Milan'),
  reportedTcb: tcbOf('Milan'),
  signerInfo: { authorKeyEnabled: false, maskChipKey: false, signingKey },
  ...changes,
});

test('a report signed with a VCEK takes the chip’s certificate for the reported TCB version', () => {
  const given = report();
  const { kind, vek, chain, crl } = requestsForReport(given);
  expect([kind, endorsementPath(chain), endorsementPath(crl)]).toEqual([
    'VCEK',
    '/vcek/v1/Milan/cert_chain',
    '/vcek/v1/Milan/crl',
  ]);
  expect(vek).toEqual({ what: 'vcek', line: 'Milan', hwid: given.chipId, tcb: given.reportedTcb });
});

test('one signed with a VLEK, or on a chip that hides its id, takes it from the host', () => {
  const vlek = requestsForReport(report({}, 'VLEK'));
  expect([vlek.vek, endorsementPath(vlek.chain), endorsementPath(vlek.crl)]).toEqual([
    undefined,
    '/vlek/v1/Milan/cert_chain',
    '/vlek/v1/Milan/crl',
  ]);
  const masked = requestsForReport(report({ chipId: new Uint8Array(64) }));
  expect([masked.vek, endorsementPath(masked.chain)]).toEqual([undefined, '/vcek/v1/Milan/cert_chain']);
});

test('one that nobody signed, or of an unknown product line, is refused', () => {
  expect(() => requestsForReport(report({}, 'none'))).toThrow(InvalidArgumentError);
  expect(() => requestsForReport(report({ line: undefined }))).toThrow(/product line/);
});
