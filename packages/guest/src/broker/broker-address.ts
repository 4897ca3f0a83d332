import { InvalidArgumentError } from '@vouchsafe/sev';

/** Where a key broker is. */
export interface BrokerAddress {
  readonly secure: boolean;
  readonly host: string;
  readonly port: number;
  /** What stands before the protocol's own paths: empty, or `/prefix`. */
  readonly prefix: string;
}

/**
 * Reads `https://HOST[:PORT][/PREFIX]`. Plain HTTP is for a broker or a proxy on this machine only: over a network whoever
 * stands in between could answer with a secret of its own.
 * @throws InvalidArgumentError
 */
export function parseBrokerAddress(text: string): BrokerAddress {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const plain = url?.protocol === 'http:';
  if (
    url === undefined ||
    (!plain && url.protocol !== 'https:') ||
    url.username !== '' ||
    url.password !== '' ||
    url.search !== '' ||
    url.hash !== ''
  ) {
    throw new InvalidArgumentError('key broker', 'expected https://HOST, or http://127.0.0.1:PORT');
  }
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  if (plain && !isLoopback(host)) {
    throw new InvalidArgumentError(
      'key broker',
      `plain HTTP to ${host} would let others answer in its place`,
      {
        hint: 'use https:// with the broker’s CA or the fingerprint of its certificate',
      },
    );
  }
  const port = url.port === '' ? (plain ? 80 : 443) : Number(url.port);
  return { secure: !plain, host, port, prefix: url.pathname.replace(/\/+$/, '') };
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(?:\.\d{1,3}){3}$/.test(host);
}
