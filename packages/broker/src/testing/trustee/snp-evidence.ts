/** A certificate that the host gave beside a report, in DER. */
export interface TrusteeCertificate {
  readonly type: 'ARK' | 'ASK' | 'VCEK' | 'VLEK' | 'CRL';
  readonly der: Uint8Array;
}

/**
 * The text of `primary_evidence`: a report of 1184 bytes as the Rust crate `sev` serialises it. Text, and not a value,
 * because words of 64 bits are plain numbers in it.
 */
export function trusteeEvidence(report: Uint8Array, certificates: readonly TrusteeCertificate[]): string {
  const view = new DataView(report.buffer, report.byteOffset, report.byteLength);
  const list = (from: number, length: number) => `[${report.subarray(from, from + length).join(',')}]`;
  const word = (at: number) => String(view.getUint32(at, true));
  const wide = (at: number) => String(view.getBigUint64(at, true));
  const byte = (at: number) => String(view.getUint8(at));
  const version = view.getUint32(0, true);
  const family = version >= 3 ? view.getUint8(0x188) : undefined;
  const ofTurin = family === 0x1a;
  const tcb = (at: number) =>
    ofTurin
      ? `{"fmc":${byte(at)},"bootloader":${byte(at + 1)},"tee":${byte(at + 2)},"snp":${byte(at + 3)},"microcode":${byte(at + 7)}}`
      : `{"fmc":null,"bootloader":${byte(at)},"tee":${byte(at + 1)},"snp":${byte(at + 6)},"microcode":${byte(at + 7)}}`;
  const firmware = (at: number) => `{"major":${byte(at + 2)},"minor":${byte(at + 1)},"build":${byte(at)}}`;
  const since3 = (at: number) => (version >= 3 ? byte(at) : 'null');
  const since5 = (at: number) => (version >= 5 ? wide(at) : 'null');
  const members: [string, string][] = [
    ['version', String(version)],
    ['guest_svn', word(0x004)],
    ['policy', wide(0x008)],
    ['family_id', list(0x010, 16)],
    ['image_id', list(0x020, 16)],
    ['vmpl', word(0x030)],
    ['sig_algo', word(0x034)],
    ['current_tcb', tcb(0x038)],
    ['plat_info', wide(0x040)],
    ['key_info', word(0x048)],
    ['report_data', list(0x050, 64)],
    ['measurement', list(0x090, 48)],
    ['host_data', list(0x0c0, 32)],
    ['id_key_digest', list(0x0e0, 48)],
    ['author_key_digest', list(0x110, 48)],
    ['report_id', list(0x140, 32)],
    ['report_id_ma', list(0x160, 32)],
    ['reported_tcb', tcb(0x180)],
    ['cpuid_fam_id', since3(0x188)],
    ['cpuid_mod_id', since3(0x189)],
    ['cpuid_step', since3(0x18a)],
    ['chip_id', list(0x1a0, 64)],
    ['committed_tcb', tcb(0x1e0)],
    ['current', firmware(0x1e8)],
    ['committed', firmware(0x1ec)],
    ['launch_tcb', tcb(0x1f0)],
    ['launch_mit_vector', since5(0x1f8)],
    ['current_mit_vector', since5(0x200)],
    ['signature', `{"r":${list(0x2a0, 72)},"s":${list(0x2e8, 72)}}`],
  ];
  const chain = certificates.map(({ type, der }) => `{"cert_type":"${type}","data":[${der.join(',')}]}`);
  const json = members.map(([name, value]) => `"${name}":${value}`).join(',');
  return `{"attestation_report":{${json}},"cert_chain":${chain.length === 0 ? 'null' : `[${chain.join(',')}]`}}`;
}
