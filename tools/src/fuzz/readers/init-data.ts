import { gzipSync } from 'node:zlib';
import * as protocol from '@vouchsafe/protocol';
import { concat } from '@vouchsafe/sev';
import type { Parser } from '../run.js';

/** Packed without compression, so that a changed byte seldom spoils the packing before it is met. */
const packed = gzipSync('version = "0.1.0"', { level: 0 });

function disk(): Uint8Array {
  const header = protocol.initDataDiskHeader.build({ length: BigInt(packed.length) });
  return concat(header, packed, new Uint8Array(512 - header.length - packed.length));
}

/** What reads init-data as a host hands it over. */
export function initDataReaders(): Parser[] {
  return [
    {
      name: 'parseInitDataAnnotation',
      seeds: [new TextEncoder().encode(packed.toString('base64'))],
      parse: (bytes) => protocol.parseInitDataAnnotation(new TextDecoder().decode(bytes)),
    },
    { name: 'parseInitDataDisk', seeds: [disk()], parse: (bytes) => protocol.parseInitDataDisk(bytes) },
  ];
}
