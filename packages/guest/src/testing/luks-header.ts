import { createHash, pbkdf2Sync } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';

/**
 * What a host can do to a LUKS2 header without any key (LUKS2 On-Disk Format Specification 1.1.4, section 2): change its
 * JSON and make the checksums of both copies right again.
 */

export interface HeaderJson {
  keyslots: Record<string, { area: Record<string, unknown>; key_size: number } & Record<string, unknown>>;
  segments: Record<string, Record<string, unknown>>;
  digests: Record<string, Record<string, unknown>>;
  config: Record<string, unknown>;
  tokens: Record<string, unknown>;
}

const binaryHeader = 4096;
const checksumAt = 448;

/** Rewrites the JSON of both copies of the header, and whatever else `change` does to the bytes of the volume. */
export function rewriteHeader(volume: string, change: (json: HeaderJson, bytes: Buffer) => void): void {
  const bytes = readFileSync(volume);
  const size = Number(bytes.readBigUInt64BE(8));
  const end = bytes.indexOf(0, binaryHeader);
  const json = JSON.parse(bytes.toString('utf8', binaryHeader, end)) as HeaderJson;
  change(json, bytes);
  const text = Buffer.alloc(size - binaryHeader);
  text.write(JSON.stringify(json));
  for (const start of [0, size]) {
    text.copy(bytes, start + binaryHeader);
    bytes.fill(0, start + checksumAt, start + checksumAt + 64);
    createHash('sha256')
      .update(bytes.subarray(start, start + size))
      .digest()
      .copy(bytes, start + checksumAt);
  }
  writeFileSync(volume, bytes);
}

/** Makes the first key slot one that every pass-phrase opens, to a volume key that the host knows. */
export function openToEverybody(json: HeaderJson, bytes: Buffer): void {
  const [id = '', slot] = Object.entries(json.keyslots)[0]!;
  const offset = Number(slot!.area['offset']);
  slot!.area['encryption'] = 'cipher_null-ecb';
  bytes.fill(0, offset, offset + Number(slot!.area['size']));
  const salt = Buffer.alloc(32, 7);
  json.digests = {
    0: {
      ...{ type: 'pbkdf2', keyslots: [id], segments: ['0'], hash: 'sha256', iterations: 1000 },
      salt: salt.toString('base64'),
      digest: pbkdf2Sync(keyOfZeros(slot!.key_size), salt, 1000, 32, 'sha256').toString('base64'),
    },
  };
}

/** What the anti-forensic splitter of LUKS merges 4000 stripes of zeros into. */
function keyOfZeros(length: number): Buffer {
  let block = Buffer.alloc(length);
  for (let stripe = 0; stripe < 3999; stripe++) {
    const parts: Buffer[] = [];
    for (let at = 0; at < length; at += 32) {
      const number = Buffer.alloc(4);
      number.writeUInt32BE(at / 32);
      parts.push(
        createHash('sha256')
          .update(number)
          .update(block.subarray(at, at + 32))
          .digest(),
      );
    }
    block = Buffer.concat(parts);
  }
  return block;
}
