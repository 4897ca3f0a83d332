import { InvalidArgumentError } from '../errors.js';
import { parseFirmwareFooter } from './firmware-footer.js';
import { snpPageSize } from './snp-page-measure.js';
import { type VmsaFpu, vmmProfiles } from './vmm-types.js';
import { commonReset, vmsa } from './vmsa.js';

/**
 * Where QEMU puts a separate SVSM: below the firmware's variables, which lie below its code.
 * @param codeGpa of the code volume
 * @param varsSize bytes of the variables volume
 * @throws InvalidArgumentError when it is not a number of whole pages, or there is no room
 */
export function svsmAddress(codeGpa: number, varsSize: number, svsmSize: number): number {
  if (!Number.isSafeInteger(varsSize) || varsSize < 0 || varsSize % snpPageSize !== 0) {
    throw new InvalidArgumentError('size of the variables', `expected whole pages, found ${varsSize} bytes`);
  }
  const address = codeGpa - varsSize - svsmSize;
  if (address < 0) throw new InvalidArgumentError('size of the variables', 'no room is left below them');
  return address;
}

export interface SvsmVmsaOptions {
  readonly vcpuSignature: number;
  /** Guest physical address of the SVSM's first instruction. */
  readonly entry: number;
  /** `set` fills MXCSR in; FCW stays zero in both, as on the hosts from which known digests come. */
  readonly fpu?: VmsaFpu | undefined;
}

/** The VMSA with which every vCPU of a guest with a Coconut SVSM starts under QEMU, 4096 bytes. */
export function buildSvsmVmsa({ vcpuSignature, entry, fpu = 'set' }: SvsmVmsaOptions): Uint8Array {
  const data = { selector: 0x10, attrib: 0xc93, limit: 0xffff_ffff, base: 0n };
  return vmsa.build({
    ...commonReset,
    es: data,
    cs: { selector: 8, attrib: 0xc9b, limit: 0xffff_ffff, base: 0n },
    ss: data,
    ds: data,
    fs: data,
    gs: { selector: 0, attrib: 0x93, limit: 0xffff, base: 0n },
    tr: { selector: 0, attrib: vmmProfiles.QEMU.attributes.tr, limit: 0xffff, base: 0n },
    cr0: 0x11n,
    rip: BigInt(entry),
    gPat: vmmProfiles.QEMU.gPat,
    rdx: BigInt(vcpuSignature),
    sevFeatures: 1n,
    mxcsr: fpu === 'set' ? 0x1f80 : 0,
  });
}

/**
 * Where the SVSM begins in its image.
 * @throws InvalidArgumentError for an image that does not say so, which is no SVSM
 */
export function svsmEntryOf(svsm: Uint8Array): number {
  const { svsmEntry } = parseFirmwareFooter(svsm);
  if (svsmEntry === undefined)
    throw new InvalidArgumentError('SVSM', 'its footer names no entry: not an SVSM image');
  if (svsmEntry >= svsm.length) throw new InvalidArgumentError('SVSM', 'its entry lies outside the image');
  return svsmEntry;
}
