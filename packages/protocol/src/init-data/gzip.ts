import { concat, MalformedError } from '@vouchsafe/sev';

/** Packs bytes with gzip, always the same way. */
export async function pack(bytes: Uint8Array): Promise<Uint8Array> {
  return concat(...(await pieces(bytes, new CompressionStream('gzip'), Number.POSITIVE_INFINITY)));
}

/**
 * Unpacks gzip; what would become larger than `greatest` bytes is given up on the way there.
 * @param name of what it is, for errors
 * @throws MalformedError
 */
export async function unpack(packed: Uint8Array, name: string, greatest: number): Promise<Uint8Array> {
  const refuse = (expected: string, found: string): never => {
    throw new MalformedError({ structure: name, field: 'gzip', offset: 0, expected, found });
  };
  let found: Uint8Array[];
  try {
    found = await pieces(packed, new DecompressionStream('gzip'), greatest);
  } catch {
    // zlib's error says no more.
    return refuse('one whole gzip member', 'something else');
  }
  const bytes = concat(...found);
  return bytes.length > greatest ? refuse(`at most ${greatest} bytes unpacked`, 'more') : bytes;
}

/** What comes out of a stream, until it is more than `greatest` bytes. */
async function pieces(
  bytes: Uint8Array,
  through: CompressionStream | DecompressionStream,
  greatest: number,
): Promise<Uint8Array[]> {
  const writer = through.writable.getWriter();
  const reader = through.readable.getReader();
  const writing = writer.write(new Uint8Array(bytes)).then(() => writer.close());
  // Reading fails as well, and tells why.
  writing.catch(() => undefined);
  const found: Uint8Array[] = [];
  let length = 0;
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return found;
    found.push(new Uint8Array(value));
    length += value.length;
    if (length <= greatest) continue;
    await reader.cancel().catch(() => undefined);
    return found;
  }
}
