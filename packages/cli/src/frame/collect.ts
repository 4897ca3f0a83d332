import { InvalidArgumentError } from '@vouchsafe/sev';

/** Kernels and disk images of firmware are well below it; what is endless is refused before memory is. */
const largestInput = 512 * 1024 * 1024;

/**
 * Everything that a stream gives, in one array. The pieces are zeroed behind it, because they may be those of a key.
 * @throws InvalidArgumentError naming `what` once it has given more than `most` bytes
 */
export async function collect(
  stream: AsyncIterable<Uint8Array>,
  what: string,
  most = largestInput,
): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let length = 0;
  try {
    for await (const part of stream) {
      parts.push(part);
      length += part.length;
      if (length > most) {
        throw new InvalidArgumentError(
          what,
          `it has more than ${most} bytes, more than anything that belongs here`,
        );
      }
    }
    const whole = new Uint8Array(length);
    let at = 0;
    for (const part of parts) {
      whole.set(part, at);
      at += part.length;
    }
    return whole;
  } finally {
    for (const part of parts) part.fill(0);
  }
}
