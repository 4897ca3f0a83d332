/** One line of a stream, without its line feed; `undefined` in place of one that is longer than the limit. */
export type Line = string | undefined;

/**
 * The lines of a byte stream. A line that is too long is passed over, up to its line feed, and reported once: whoever
 * writes it can neither fill memory nor take the lines after it along. What follows the last line feed is no line.
 */
export async function* linesOf(chunks: AsyncIterable<Uint8Array>, limit: number): AsyncGenerator<Line> {
  let parts: Uint8Array[] = [];
  let length = 0;
  let tooLong = false;
  for await (const chunk of chunks) {
    let rest = chunk;
    for (let end = rest.indexOf(0x0a); end !== -1; end = rest.indexOf(0x0a)) {
      const fits = !tooLong && length + end < limit;
      if (fits) parts.push(rest.subarray(0, end));
      yield fits ? Buffer.concat(parts).toString('utf8') : undefined;
      parts = [];
      length = 0;
      tooLong = false;
      rest = rest.subarray(end + 1);
    }
    length += rest.length;
    if (length >= limit) {
      tooLong = true;
      parts = [];
    } else if (!tooLong) {
      parts.push(rest);
    }
  }
}
