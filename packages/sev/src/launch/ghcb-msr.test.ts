import { describe, expect, test } from 'vitest';
import {
  ghcbMsrCode,
  ghcbMsrCodes,
  ghcbMsrFeatures,
  ghcbMsrPageStateRequest,
  ghcbMsrPageStateResponse,
  ghcbMsrRegistration,
  ghcbMsrRequest,
  ghcbMsrSevInformation,
  ghcbMsrTermination,
  ghcbRefusedFrame,
} from './ghcb-msr.js';

describe('words in the GHCB MSR', () => {
  const { REGISTER_REQUEST, REGISTER_RESPONSE, PAGE_STATE_REQUEST, PAGE_STATE_RESPONSE } = ghcbMsrCodes;

  /** Written out from the specification, as linux's macros make them. */
  test.each<[string, bigint, bigint]>([
    ['SEV information request', ghcbMsrRequest.build({ code: 2 }), 0x2n],
    [
      'SEV information',
      ghcbMsrSevInformation.build({ code: 1, cBitPosition: 51, leastVersion: 1, mostVersion: 2 }),
      0x0002_0001_3300_0001n,
    ],
    ['GHCB registration', ghcbMsrRegistration.build({ code: REGISTER_REQUEST, frame: 0xd }), 0xd012n],
    [
      'refused registration',
      ghcbMsrRegistration.build({ code: REGISTER_RESPONSE, frame: ghcbRefusedFrame }),
      0xffff_ffff_ffff_f013n,
    ],
    [
      'page to be shared',
      ghcbMsrPageStateRequest.build({ code: PAGE_STATE_REQUEST, frame: 0x7ffff, operation: 2 }),
      0x0020_0000_7fff_f014n,
    ],
    [
      'page state response',
      ghcbMsrPageStateResponse.build({ code: PAGE_STATE_RESPONSE, error: 1 }),
      0x1_0000_0015n,
    ],
    ['features', ghcbMsrFeatures.build({ code: 0x81, snp: true, apCreation: true }), 0x3081n],
    ['termination', ghcbMsrTermination.build({ code: 0x100, reasonSet: 1, reason: 2 }), 0x2_1100n],
  ])('%s', (_name, built, known) => {
    expect(built).toBe(known);
  });

  test('the code tells them apart; an address of a page has none', () => {
    expect(ghcbMsrCode(0xffff_ffff_ffff_f013n)).toBe(0x013);
    expect(ghcbMsrCode(0xd000n)).toBe(0);
  });

  test('reserved bits are refused', () => {
    expect(() => ghcbMsrPageStateResponse.parse(0x1000_0015n)).toThrow(/page state response/);
    expect(() => ghcbMsrRequest.parse(0x1002n)).toThrow(/request/);
  });
});
