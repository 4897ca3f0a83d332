import { describe, expect, it } from 'vitest';
import { InvalidArgumentError, MalformedError } from '../errors.js';
import {
  buildCpuidRequest,
  buildCpuidResponse,
  parseCpuidRequest,
  parseCpuidResponse,
} from '../guest-messages/cpuid-message.js';
import { buildCpuidPage, type CpuidEntry, cpuidEntry, parseCpuidPage } from './cpuid-page.js';

const entry = (eaxIn: number): CpuidEntry => ({
  eaxIn,
  ecxIn: 1,
  xcr0In: 7n,
  xssIn: 3n,
  eax: 4,
  ebx: 5,
  ecx: 6,
  edx: 7,
});
const entries = (count: number) => Array.from({ length: count }, (_, i) => entry(i));

describe('a CPUID page', () => {
  it('has its entries where the specification has them', () => {
    const page = buildCpuidPage([entry(0x8000_001f)]);
    const view = new DataView(page.buffer);
    expect(page.length).toBe(4096);
    expect(view.getUint32(0, true)).toBe(1);
    const words = [0x10, 0x14, 0x18, 0x20, 0x28, 0x2c, 0x30, 0x34].map((at) => view.getUint32(at, true));
    expect(words).toEqual([0x8000_001f, 1, 7, 3, 4, 5, 6, 7]);
    expect(cpuidEntry.size).toBe(48);
  });

  it.each([0, 1, 64])('of %i entries comes back', (count) => {
    expect(parseCpuidPage(buildCpuidPage(entries(count)))).toEqual(entries(count));
  });

  it('of more than 64 entries is refused, in both directions', () => {
    expect(() => buildCpuidPage(entries(65))).toThrow(InvalidArgumentError);
    const page = buildCpuidPage(entries(64));
    page[0] = 65;
    expect(() => parseCpuidPage(page)).toThrow(
      'CPUID page: count at offset 0x0: expected at most 64, found 65',
    );
  });

  it('with reserved bytes set, or of another length, is refused', () => {
    const page = buildCpuidPage(entries(2));
    expect(() => parseCpuidPage(page.subarray(1))).toThrow(MalformedError);
    page[16 + 48 + 0x28] = 1;
    expect(() => parseCpuidPage(page)).toThrow(/offset 0x68/);
  });
});

describe('CPUID messages', () => {
  it('come back', () => {
    expect(parseCpuidRequest(buildCpuidRequest(entries(3)))).toEqual(entries(3));
    const response = { status: 0, entries: entries(2) };
    expect(parseCpuidResponse(buildCpuidResponse(response))).toEqual(response);
    expect([...buildCpuidResponse({ status: 0x16, entries: [] }).subarray(0, 8)]).toEqual([
      0x16, 0, 0, 0, 0, 0, 0, 0,
    ]);
  });

  it('that are longer or shorter than their entries are refused', () => {
    const request = buildCpuidRequest(entries(2));
    const longer = new Uint8Array(request.length + 1);
    longer.set(request);
    for (const wrong of [longer, request.subarray(1), request.subarray(0, 15)])
      expect(() => parseCpuidRequest(wrong)).toThrow(MalformedError);
    expect(() => parseCpuidResponse(new Uint8Array(17))).toThrow(MalformedError);
  });
});
