import { createHmac } from 'node:crypto';
import { concat, openSecret, type Secret } from '@vouchsafe/sev';

/**
 * SP 800-108 in counter mode with HMAC-SHA-384, the counter and the length as 32 bits, big-endian, before and behind:
 * counter ‖ label ‖ 0 ‖ context ‖ length in bits.
 */
export function counterModeKdf(root: Secret, label: string, context: Uint8Array, length: number): Uint8Array {
  const blocks: Uint8Array[] = [];
  for (let counter = 1; 48 * blocks.length < length; counter++) {
    const hmac = createHmac('sha384', openSecret(root));
    hmac.update(word(counter)).update(label).update(Uint8Array.of(0)).update(context);
    blocks.push(new Uint8Array(hmac.update(word(8 * length)).digest()));
  }
  return concat(...blocks).slice(0, length);
}

function word(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}
