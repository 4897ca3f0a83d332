interface Cookie {
  readonly name: string;
  readonly value: string;
  readonly host: string;
  readonly path: string;
  readonly expires: number;
}

/** Cookies as a user agent keeps them (RFC 6265 section 5), as far as a key broker can make a difference. */
export class CookieStore {
  #cookies: Cookie[] = [];
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** Takes the `Set-Cookie` headers of an answer. */
  store(url: URL, setCookie: readonly string[]): void {
    for (const header of setCookie) {
      const cookie = parseSetCookie(url, header);
      if (cookie === undefined) continue;
      this.#cookies = this.#cookies.filter(
        ({ name, host, path }) => name !== cookie.name || host !== cookie.host || path !== cookie.path,
      );
      this.#cookies.push(cookie);
    }
  }

  /** The `Cookie` header of a request; undefined when no cookie belongs there. */
  header(url: URL): string | undefined {
    const sent = this.#cookies
      .filter(
        ({ host, path, expires }) => host === url.hostname && within(url, path) && expires > this.#now(),
      )
      .map(({ name, value }) => `${name}=${value}`);
    return sent.length === 0 ? undefined : sent.join('; ');
  }
}

function parseSetCookie(url: URL, header: string): Cookie | undefined {
  const [pair = '', ...attributes] = header.split(';').map((part) => part.trim());
  const equals = pair.indexOf('=');
  if (equals < 1) return undefined;
  const given = new Map(
    attributes.map((attribute) => {
      const [name = '', ...value] = attribute.split('=');
      return [name.toLowerCase(), value.join('=')] as const;
    }),
  );
  const domain = given.get('domain');
  if (domain !== undefined && domain !== url.hostname) return undefined;
  if (given.has('secure') && url.protocol !== 'https:') return undefined;
  const path = given.get('path');
  const expires = given.get('expires');
  return {
    name: pair.slice(0, equals),
    value: pair.slice(equals + 1),
    host: url.hostname,
    path: path?.startsWith('/') === true ? path : defaultPath(url),
    expires: expires === undefined ? Number.POSITIVE_INFINITY : Date.parse(expires),
  };
}

/** Section 5.1.4: up to the last slash of the request's path, that one left out. */
function defaultPath({ pathname }: URL): string {
  const end = pathname.lastIndexOf('/');
  return end <= 0 ? '/' : pathname.slice(0, end);
}

function within({ pathname }: URL, path: string): boolean {
  if (pathname === path) return true;
  return pathname.startsWith(path) && (path.endsWith('/') || pathname[path.length] === '/');
}
