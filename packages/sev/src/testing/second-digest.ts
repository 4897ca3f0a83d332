import { createHash } from 'node:crypto';

/**
 * Launch digests calculated a second time, from the fact sheet and with nothing of this package: what both calculations
 * agree on is not one's misreading.
 */
export interface SecondDigestOptions {
  readonly mode: 'sev' | 'seves' | 'snp' | 'snp:ovmf-hash';
  readonly firmware: Uint8Array;
  readonly vmmType: string;
  readonly vcpus: number;
  readonly family: number;
  readonly model: number;
  readonly stepping: number;
  readonly guestFeatures: bigint;
  readonly fpu: 'zero' | undefined;
}

export function secondDigest(options: SecondDigestOptions): string {
  const image = Buffer.from(options.firmware);
  if (options.mode === 'sev') return createHash('sha256').update(image).digest('hex');
  if (options.mode === 'seves') {
    const hash = createHash('sha256').update(image);
    for (let cpu = 0; cpu < options.vcpus; cpu++) hash.update(vmsaPage(options, image, cpu, 0n));
    return hash.digest('hex');
  }

  let ld = Buffer.alloc(48);
  const page = (type: number, gpa: number, data?: Buffer) => {
    const info = Buffer.alloc(0x70);
    ld.copy(info, 0);
    if (data !== undefined) createHash('sha384').update(data).digest().copy(info, 0x30);
    info.writeUInt16LE(0x70, 0x60);
    info.writeUInt8(type, 0x62);
    info.writeBigUInt64LE(BigInt(gpa), 0x68);
    ld = createHash('sha384').update(info).digest();
  };
  for (let at = 0; at < image.length; at += 4096) {
    page(1, 0x1_0000_0000 - image.length + at, image.subarray(at, at + 4096));
  }
  if (options.mode === 'snp:ovmf-hash') return ld.toString('hex');

  const ec2 = options.vmmType.startsWith('ec2');
  const late: [type: number, gpa: number][] = [];
  for (const { gpa, length, type } of metadataSections(image)) {
    if (type === 2) page(5, gpa);
    else if (type === 3 && ec2) late.push([6, gpa]);
    else if (type === 3) page(6, gpa);
    else {
      const pageType = type === 1 && options.vmmType === 'gce' ? 4 : 3;
      for (let at = 0; at < length; at += 4096) page(pageType, gpa + at);
    }
  }
  for (const [type, gpa] of late) page(type, gpa);
  for (let cpu = 0; cpu < options.vcpus; cpu++) {
    page(2, 0xfffffffff000, vmsaPage(options, image, cpu, options.guestFeatures));
  }
  return ld.toString('hex');
}

/** Walks the footer table down from 32 bytes below the end. GUIDs as they stand in the file. */
function footerEntry(image: Buffer, guid: string): Buffer | undefined {
  let end = image.length - 48 - 2;
  const start = image.length - 32 - image.readUInt16LE(end);
  while (end > start) {
    const found = image.toString('hex', end - 16, end);
    const size = image.readUInt16LE(end - 18);
    if (found === guid) return image.subarray(end - size, end - 18);
    end -= size;
  }
  return undefined;
}

function metadataSections(image: Buffer): { gpa: number; length: number; type: number }[] {
  const pointer = footerEntry(image, '666588dc4a989847a75e5585a7bf67cc')!;
  const header = image.length - pointer.readUInt32LE();
  return Array.from({ length: image.readUInt32LE(header + 12) }, (_, i) => ({
    gpa: image.readUInt32LE(header + 16 + 12 * i),
    length: image.readUInt32LE(header + 20 + 12 * i),
    type: image.readUInt32LE(header + 24 + 12 * i),
  }));
}

function vmsaPage(options: SecondDigestOptions, image: Buffer, cpu: number, features: bigint): Buffer {
  const { vmmType, family, model, stepping } = options;
  const qemu = vmmType === 'QEMU';
  const page = Buffer.alloc(4096);
  const segment = (at: number, selector: number, attributes: number, base = 0) => {
    page.writeUInt16LE(selector, at);
    page.writeUInt16LE(attributes, at + 2);
    page.writeUInt32LE(0xffff, at + 4);
    page.writeBigUInt64LE(BigInt(base), at + 8);
  };
  const word = (at: number, value: bigint | number) => page.writeBigUInt64LE(BigInt(value), at);

  const reset = footerEntry(image, 'de71f7007e1acb4f890e68c77e2fb44e')!.readUInt32LE();
  const eip = cpu === 0 ? 0xfffffff0 : reset;
  for (const at of [0x00, 0x30, 0x40, 0x50]) segment(at, 0, 0x93);
  const cs = {
    QEMU: [0x9b, 0x9b],
    ec2: [0x9a, 0x9b],
    'ec2-old': [0x9a, 0x9b],
    gce: [0x9b, 0x9b],
    KRUN: [0x9a, 0x9a],
  };
  const amazonLike = vmmType.startsWith('ec2') || vmmType === 'KRUN';
  segment(0x10, 0xf000, cs[vmmType as keyof typeof cs][cpu === 0 ? 0 : 1]!, eip - (eip % 0x10000));
  segment(0x20, 0, amazonLike ? 0x92 : 0x93);
  segment(0x60, 0, 0);
  segment(0x70, 0, 0x82);
  segment(0x80, 0, 0);
  segment(0x90, 0, amazonLike ? 0x83 : 0x8b);
  word(0xd0, 0x1000);
  word(0x148, 0x40);
  word(0x158, 0x10);
  word(0x160, 0x400);
  word(0x168, 0xffff0ff0);
  word(0x170, 2);
  word(0x178, eip % 0x10000);
  word(0x268, vmmType === 'gce' ? 0x70106 : 0x0007040600070406n);
  const extended = Math.max(family - 15, 0);
  const signature =
    extended * 2 ** 20 +
    (model >> 4) * 2 ** 16 +
    (family - extended) * 2 ** 8 +
    (model % 16) * 2 ** 4 +
    stepping;
  word(0x310, qemu ? signature : vmmType === 'ec2' || vmmType === 'gce' ? 0x600 : 0);
  word(0x3b0, features);
  word(0x3e8, 1);
  if (qemu && options.fpu !== 'zero') {
    page.writeUInt32LE(0x1f80, 0x408);
    page.writeUInt16LE(0x37f, 0x410);
  }
  return page;
}
