import { describe, expect, it } from 'vitest';
import {
  ghcb,
  ghcbExitCodes,
  ghcbValidBitmap,
  isGhcbRegisterValid,
  snpGuestRequestErrors,
  snpGuestRequestExitInfo2,
  snpGuestRequestResult,
} from './ghcb.js';

describe('the GHCB', () => {
  it('has its fields where the specification has them', () => {
    expect(ghcb.size).toBe(4096);
    const offsets = {
      rax: 0x1f8,
      rcx: 0x308,
      rdx: 0x310,
      rbx: 0x318,
      exitCode: 0x390,
      exitInfo1: 0x398,
      exitInfo2: 0x3a0,
      scratch: 0x3a8,
      xcr0: 0x3e8,
      validBitmap: 0x3f0,
      sharedBuffer: 0x800,
      protocolVersion: 0xffa,
      usage: 0xffc,
    } as const;
    for (const [name, offset] of Object.entries(offsets)) {
      expect([name, ghcb.offsetOf(name as keyof typeof offsets)]).toEqual([name, offset]);
    }
  });

  it('comes back as it was built', () => {
    const validBitmap = ghcbValidBitmap(['rax', 'exitCode', 'exitInfo1', 'exitInfo2']);
    const bytes = ghcb.build({ rax: 5n, exitCode: ghcbExitCodes.IOIO, exitInfo1: 0x514_0040n, validBitmap });
    const block = ghcb.parse(bytes);
    expect(block).toMatchObject({
      rax: 5n,
      exitCode: 0x7bn,
      exitInfo1: 0x514_0040n,
      protocolVersion: 1,
      usage: 0,
    });
    expect(block.notes).toEqual([]);
  });

  it('declares registers with the bit of their eight bytes', () => {
    const validBitmap = ghcbValidBitmap(['rax', 'exitCode']);
    expect(validBitmap[7]).toBe(0x80);
    expect(validBitmap[14]).toBe(0x04);
    expect(isGhcbRegisterValid({ validBitmap }, 'rax')).toBe(true);
    expect(isGhcbRegisterValid({ validBitmap }, 'exitCode')).toBe(true);
    expect(isGhcbRegisterValid({ validBitmap }, 'exitInfo1')).toBe(false);
  });

  it('notes what a host left in reserved bytes', () => {
    const bytes = ghcb.build({});
    bytes[0xff0] = 1;
    expect(ghcb.parse(bytes).notes).toHaveLength(1);
  });

  it('carries the exits of SEV-SNP', () => {
    expect(ghcbExitCodes).toMatchObject({
      PAGE_STATE_CHANGE: 0x8000_0010n,
      GUEST_REQUEST: 0x8000_0011n,
      EXT_GUEST_REQUEST: 0x8000_0012n,
      AP_CREATION: 0x8000_0013n,
    });
  });

  it('answers a guest request with two errors in one word', () => {
    const busy = { firmwareError: 0, vmmError: snpGuestRequestErrors.BUSY };
    expect(snpGuestRequestExitInfo2(busy)).toBe(0x2_0000_0000n);
    expect(snpGuestRequestResult(0x1_0000_000bn)).toEqual({ firmwareError: 11, vmmError: 1 });
    expect(snpGuestRequestResult(0xffff_ffff_ffff_ffffn)).toEqual({
      firmwareError: 0xffff_ffff,
      vmmError: 0xffff_ffff,
    });
  });
});
