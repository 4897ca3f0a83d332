import { rcarCookie } from '@vouchsafe/protocol';
import { MalformedError } from '@vouchsafe/sev';

/**
 * The session's cookie among the `Set-Cookie` headers of an answer, `name=value` as it is sent back; undefined when there
 * is none. Other cookies are not kept.
 * @throws MalformedError for two of the name, and for a value with characters that could end a header
 */
export function sessionCookieOf(setCookie: readonly string[]): string | undefined {
  const pairs = setCookie.map((header) => header.split(';', 1)[0]!.trim());
  const found = pairs.filter((pair) => pair.startsWith(`${rcarCookie}=`));
  if (found.length > 1) refuse('one session', `${found.length}`);
  const [pair] = found;
  if (pair === undefined) return undefined;
  if (!/^[A-Za-z0-9._~+/=-]{1,256}$/.test(pair.slice(rcarCookie.length + 1)))
    refuse('1 to 256 letters, digits and a few signs', 'something else');
  return pair;
}

function refuse(expected: string, found: string): never {
  throw new MalformedError({
    structure: 'answer of a key broker',
    field: rcarCookie,
    offset: 0,
    expected,
    found,
  });
}
