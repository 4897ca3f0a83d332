import { type Generation, InvalidArgumentError, toHex } from '@vouchsafe/sev';

/** Where endorsements and CA bundles are served, and under which names. Client and server share these shapes. */
export interface KeyServiceAddresses {
  /** Serves `/cek/id/<chip id>`. */
  readonly endorsements: string;
  /** Serves `/developer/eula/sev/ask_ark_<generation>.cert`. */
  readonly authorities: string;
}

/**
 * AMD's two hosts. The CA bundles stood on developer.amd.com/wp-content/resources until March 2023; older tools still
 * name that address, which answers no more.
 */
export const amdKeyService: KeyServiceAddresses = {
  endorsements: 'https://kdsintf.amd.com',
  authorities: 'https://download.amd.com',
};

/** Bytes of a chip id: one socket's worth of GET_ID. */
export const chipIdLength = 64;

/** Path of a chip's CEK: the 64 bytes of GET_ID as 128 lower-case hexadecimal digits. @throws InvalidArgumentError */
export function cekPath(chipId: Uint8Array): string {
  if (chipId.length !== chipIdLength) {
    throw new InvalidArgumentError('chip id', `expected ${chipIdLength} bytes, found ${chipId.length}`, {
      hint: 'GET_ID with a longer buffer gives 64 bytes for each socket; ask for one socket at a time',
    });
  }
  return `/cek/id/${toHex(chipId)}`;
}

/** Paths of a generation's ASK‖ARK file, the usual name first. AMD's page names Turin's file with `prod_` before it. */
export function askArkPaths(generation: Generation): readonly [string, ...string[]] {
  const path = (name: string) => `/developer/eula/sev/ask_ark_${name}.cert`;
  return generation === 'turin' ? [path('turin'), path('prod_turin')] : [path(generation)];
}

/**
 * The whole address of a path below a base address.
 * @throws InvalidArgumentError when the base is not an http or https address without query and fragment
 */
export function addressOf(base: string, path: string): string {
  let url: URL;
  try {
    url = new URL(base);
  } catch (cause) {
    throw new InvalidArgumentError('key service', `${JSON.stringify(base)} is not an address`, { cause });
  }
  if (
    !['http:', 'https:'].includes(url.protocol) ||
    url.search !== '' ||
    url.hash !== '' ||
    url.username !== ''
  ) {
    throw new InvalidArgumentError(
      'key service',
      'expected an http or https address without user, query and fragment',
    );
  }
  return `${url.origin}${url.pathname.replace(/\/+$/, '')}${path}`;
}
