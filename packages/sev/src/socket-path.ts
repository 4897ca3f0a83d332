import { InvalidArgumentError } from './errors.js';

/** Bytes of `sun_path` (unix(7)) without the zero byte at its end. Node cuts a longer path and binds what is left. */
const longest = 107;

/**
 * Gives back a path that a unix socket can have: 1 to 107 bytes of UTF-8, none of them zero.
 * @param argument whose path it is, for the error
 * @throws InvalidArgumentError
 */
export function requireSocketPath(path: string, argument: string): string {
  const { length } = new TextEncoder().encode(path);
  if (length >= 1 && length <= longest && !path.includes('\0')) return path;
  throw new InvalidArgumentError(
    argument,
    `expected the path of a unix socket, 1 to ${longest} bytes without a zero byte, found one of ${length}`,
    { hint: 'choose a folder with a shorter path, or one relative to this one' },
  );
}
