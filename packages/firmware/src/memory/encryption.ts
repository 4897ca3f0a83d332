import { createCipheriv, createDecipheriv, createHmac } from 'node:crypto';
import { InvalidArgumentError, openSecret, Secret } from '@vouchsafe/sev';

/**
 * The encryption engine in the memory controller: AES-128 tweaked by physical address.
 *
 * AMD does not publish its tweak and no command's output depends on it, so this is XTS (IEEE 1619), whose tweak is meant
 * for this: the data unit is a 4 KiB page, its number is the tweak's input, and the 16-byte block at offset 16j of the
 * page gets the tweak multiplied by x^j. Equal plaintext at two addresses therefore differs, and a block that is moved
 * decrypts to noise. XTS without ciphertext stealing treats the blocks of a unit independently, so any aligned run of
 * 16-byte granules can be encrypted by itself and agrees with a pass over the whole page: the run is put behind as many
 * bytes of padding as stand before it in its page, and only its own part of the result is kept.
 *
 * Like the chip's, this encryption has no integrity and no freshness: what changed decrypts to noise, and old
 * ciphertext put back in place decrypts to old plaintext.
 */

const granule = 16;
const page = 4096;

/** Draws a VM's memory key (VEK), 16 bytes, and makes of it the two AES keys that XTS wants: 32 bytes. */
export function drawMemoryKey(random: (length: number) => Uint8Array): Secret {
  const key = random(16);
  const both = createHmac('sha256', key).update('memory encryption').digest();
  key.fill(0);
  return Secret.take(both);
}

/** Encrypts `plaintext`, which is to stand at `address`. Both are multiples of 16 bytes. */
export function encryptMemory(key: Secret, address: number, plaintext: Uint8Array): Uint8Array {
  return transform(key, address, plaintext, createCipheriv);
}

/** Decrypts `ciphertext`, which stands at `address`. Both are multiples of 16 bytes. */
export function decryptMemory(key: Secret, address: number, ciphertext: Uint8Array): Uint8Array {
  return transform(key, address, ciphertext, createDecipheriv);
}

type CipherFactory = (
  algorithm: string,
  key: Uint8Array,
  iv: Uint8Array,
) => { update(data: Uint8Array): Uint8Array };

function transform(key: Secret, address: number, input: Uint8Array, create: CipherFactory): Uint8Array {
  if (address % granule !== 0 || input.length % granule !== 0) {
    throw new InvalidArgumentError('encrypted memory', 'address and length must be multiples of 16');
  }
  const keys = openSecret(key);
  const output = new Uint8Array(input.length);
  const tweak = new Uint8Array(granule);
  const pageNumber = new DataView(tweak.buffer);
  for (let done = 0; done < input.length; ) {
    const before = (address + done) % page;
    const length = Math.min(page - before, input.length - done);
    pageNumber.setBigUint64(0, BigInt((address + done - before) / page), true);
    const cipher = create('aes-128-xts', keys, tweak);
    const part = input.subarray(done, done + length);
    if (before === 0) {
      output.set(cipher.update(part), done);
    } else {
      const padded = new Uint8Array(before + length);
      padded.set(part, before);
      output.set(cipher.update(padded).subarray(before), done);
    }
    done += length;
  }
  return output;
}

/** Reads and writes a guest's plaintext at any address: the controller works in whole granules. */
export function readEncrypted(
  memory: { read(address: number, length: number): Uint8Array },
  key: Secret,
  address: number,
  length: number,
): Uint8Array {
  const start = address - (address % granule);
  const end = roundUp(address + length);
  return decryptMemory(key, start, memory.read(start, end - start)).slice(
    address - start,
    address - start + length,
  );
}

export function writeEncrypted(
  memory: {
    read(address: number, length: number): Uint8Array;
    write(address: number, bytes: Uint8Array): void;
  },
  key: Secret,
  address: number,
  bytes: Uint8Array,
): void {
  const start = address - (address % granule);
  const end = roundUp(address + bytes.length);
  const plaintext = new Uint8Array(end - start);
  if (start !== address) plaintext.set(readEncrypted(memory, key, start, granule));
  if (end !== address + bytes.length)
    plaintext.set(readEncrypted(memory, key, end - granule, granule), end - start - granule);
  plaintext.set(bytes, address - start);
  memory.write(start, encryptMemory(key, start, plaintext));
  plaintext.fill(0);
}

const roundUp = (address: number) => Math.ceil(address / granule) * granule;
