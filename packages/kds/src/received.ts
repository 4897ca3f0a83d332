import {
  amdCaCertificates,
  caIdentity,
  caName,
  equalBytes,
  type Generation,
  p384KeyOf,
  parseAmdCaCertificate,
  parseSevCertificate,
  UnavailableError,
  VouchsafeError,
} from '@vouchsafe/sev';
import { withNaplesSignature } from './naples-signature.js';

/** Reads what a service sent, strictly, and says whether it can be what was asked for. Trusting it is for a verifier. */

/** ASK and ARK of a bundle whose length is right. */
export function splitAskArk(bundle: Uint8Array): { readonly ask: Uint8Array; readonly ark: Uint8Array } {
  return { ask: bundle.slice(0, bundle.length / 2), ark: bundle.slice(bundle.length / 2) };
}

/** The same bytes, if they are a CEK that some ASK signed. @throws UnavailableError otherwise */
export function checkedCek(received: Uint8Array): Uint8Array {
  return expecting('a signed CEK', () => {
    const { usage, signatures } = parseSevCertificate(received, { offset: 0, path: 'CEK certificate' });
    if (usage !== 'CEK') throw unfit('a signed CEK', `a certificate of usage ${usage}`);
    if (!signatures.some((slot) => slot.kind === 'rsa' && slot.usage === 'ASK')) {
      throw unfit('a signed CEK', 'one that no ASK signed');
    }
    return received;
  });
}

/** Whether two CEK certificates hold the same key. The chip's own copy is not signed, and its header may differ. */
export function isSameCek(one: Uint8Array, other: Uint8Array): boolean {
  const [a, b] = [p384KeyOf(parseSevCertificate(one)), p384KeyOf(parseSevCertificate(other))];
  return equalBytes(a.x, b.x) && equalBytes(a.y, b.y);
}

/**
 * ASK‖ARK, completed where AMD left the Naples signature out, if they are of the generation as far as their sizes, key
 * ids and usages tell. @throws UnavailableError otherwise
 */
export function checkedAskArk(generation: Generation, received: Uint8Array): Uint8Array {
  const wanted = `ASK and ARK of ${generation}`;
  return expecting(wanted, () => {
    const bundle = withNaplesSignature(generation, received);
    const size = 2 * amdCaCertificates[generation === 'naples' ? 2048 : 4096].size;
    if (bundle.length !== size) throw unfit(wanted, `${received.length} bytes where ${size} were expected`);
    const parts = splitAskArk(bundle);
    const ask = parseAmdCaCertificate(parts.ask, { offset: 0, path: 'ASK certificate' });
    const ark = parseAmdCaCertificate(parts.ark, { offset: parts.ask.length, path: 'ARK certificate' });
    if (ask.usage !== 'ASK' || ark.usage !== 'ARK')
      throw unfit(wanted, `${ask.usage} and ${ark.usage}, in that order`);
    if (!equalBytes(ask.certifyingId, ark.keyId))
      throw unfit(wanted, 'an ASK that names another key as its signer');
    for (const certificate of [ask, ark]) {
      const identity = caIdentity(certificate);
      if (identity !== undefined && identity.generation !== generation)
        throw unfit(wanted, caName(certificate));
    }
    return bundle;
  });
}

/** What cannot be parsed was the service's fault, not the caller's. */
export function expecting<T>(wanted: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw serviceFault(wanted, error);
  }
}

/** The same for what takes its time. */
export async function expectingSoon<T>(wanted: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    throw serviceFault(wanted, error);
  }
}

function serviceFault(wanted: string, error: unknown): unknown {
  if (!(error instanceof VouchsafeError) || error instanceof UnavailableError) return error;
  return unfit(wanted, error.message, { cause: error });
}

export function unfit(
  wanted: string,
  found: string,
  {
    hint = 'what answers there is not the key service that endorses this chip: check the address',
    cause,
  }: { readonly hint?: string; readonly cause?: unknown } = {},
): UnavailableError {
  return new UnavailableError('key service', `expected ${wanted}, received ${found}`, { hint, cause });
}
